"""Sockets: the only package that imports zmq."""
