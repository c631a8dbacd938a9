"""Messages and pure state machines: no sockets, no processes, no clocks."""
