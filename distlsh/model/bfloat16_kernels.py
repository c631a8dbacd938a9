"""Compiles the kernels that train rows stored as bfloat16: imported by the processes of such runs alone."""

from __future__ import annotations

from distlsh.kernels.by_feature import step_features
from distlsh.kernels.initialise import add_to_labels, finish_centroids, gaussian_rows
from distlsh.kernels.input_layer import input_backward, input_forward
from distlsh.kernels.output_layer import output_step
from distlsh.kernels.topk import candidate_topk

for _kernel in (
    gaussian_rows,
    add_to_labels,
    finish_centroids,
    input_forward,
    input_backward,
    step_features,
    output_step,
    candidate_topk,
):
    _kernel.prepare()
