"""Runs that need the authors' random numbers, or the signs of singular vectors, to be ours."""

import functional_optim as fo

ROWS = {"w": fo.MatrixAxes(0, 1), "b": None}
"""The axes of a weight as it is, without a layout."""

CASES = {
    "psgd_kron": fo.psgd_kron(1e-2, weight_decay=0.1, axes=ROWS),
    "psgd_kron-rare": fo.psgd_kron(
        1e-2,
        b1=0.5,
        preconditioner_update_probability=0.3,
        momentum_into_preconditioner=False,
        preconditioner_init_scale=0.5,
        memory_save_mode="one_diag",
        axes=ROWS,
    ),
    "psgd_kron-symmetric": fo.psgd_kron(
        1e-2,
        b1=0.0,
        max_rms=2.0,
        max_abs=10.0,
        geometry="Q0.5EQ1.5",
        max_skew_triangular=1.0,
        axes=ROWS,
    ),
    "psgd_kron-dense": fo.psgd_kron(
        1e-2,
        b1=0.0,
        max_rms=2.0,
        max_abs=1.5,
        preconditioner_lr=0.5,
        preconditioner_init_scale=3.0,
        damping=0.01,
        geometry="Q0.5EQ1.5",
        axes=ROWS,
    ),
    # Their eps is added to the root without bias correction.
    "galore": fo.galore(
        1e-2,
        rank=2,
        update_proj_gap=4,
        scale=0.25,
        base_optimizer=fo.scale_by_adam(eps=0.0),
        side="shorter",
    ),
    "galore-longer": fo.galore(
        1e-2, rank=1, update_proj_gap=4, base_optimizer=fo.scale_by_adam(eps=0.0)
    ),
    "apollo": fo.apollo(
        1e-2, rank=2, update_proj_gap=4, scale=2.0, eps=0.1, adam_eps=0.0, axes=ROWS
    ),
    "apollo_mini": fo.apollo_mini(1e-3, update_proj_gap=4, axes=ROWS, adam_eps=0.0),
}
