"""Scion, Dion and Dion2 on parameters as torch has them: name of a run -> shape, transformation."""

import dataclasses

import functional_optim as fo

AXES = {"x": fo.MatrixAxes(inputs=1, outputs=0)}


@dataclasses.dataclass(frozen=True)
class Case:
    """A run of one parameter."""

    shape: str
    tx: fo.GradientTransformation


def scion(shape: str, norm: fo.ScionNorm, axes=AXES, **options) -> Case:
    arguments = {"radius": 2.0, "norms": {"x": norm}, "param_labels": {"x": "x"}, **options}
    return Case(shape, fo.scion(2**-4, axes=axes, **arguments))


def convolution(*positions: int):
    axes = {"x": fo.MatrixAxes(inputs=(1, *positions), outputs=0)}
    return {"norm": fo.ScionNorm("spectral", window=positions), "axes": axes}


SPECTRAL = fo.ScionNorm("spectral")
SIGN = fo.ScionNorm("sign")

CASES = {
    "scion-spectral": scion("tall", SPECTRAL),
    "scion-spectral-wide": scion("wide", fo.ScionNorm("spectral", at_least_one=True), alpha=1.0),
    "scion-spectral-first": scion("wide", fo.ScionNorm("spectral", False), constrained=False),
    "scion-sign": scion("tall", SIGN),
    "scion-sign-first": scion("wide", fo.ScionNorm("sign", False), constrained=False, alpha=0.5),
    "scion-col_norm": scion("tall", fo.ScionNorm("col_norm")),
    "scion-col_norm-normalized": scion("wide", fo.ScionNorm("col_norm", normalized=True)),
    "scion-row_norm": scion("tall", fo.ScionNorm("row_norm")),
    "scion-row_norm-first": scion("wide", fo.ScionNorm("row_norm", normalized=False)),
    "scion-bias_rms": scion("vector", fo.ScionNorm("bias_rms"), axes=None),
    "scion-line": scion("line", **convolution(2)),
    "scion-image": scion("image", **convolution(2, 3)),
    "dion_simple": Case("tall", fo.dion(0.01, rank_fraction=0.5, axes=AXES)),
    "dion_simple-whole": Case("tall", fo.dion(0.01, 0.9, weight_decay=0.1, axes=AXES)),
    "dion_reference": Case("wide", fo.dion(0.01, rank_fraction=0.5, axes=AXES)),
    "dion_reference-whole": Case("wide", fo.dion(0.01, axes=AXES)),
    "dion": Case("wide", fo.dion(0.01, rank_fraction=0.3, rank_multiple_of=2, axes=AXES)),
    "dion2": Case("tall", fo.dion2(0.01, axes=AXES)),
    "dion2-wide": Case("wide", fo.dion2(0.01, 0.8, fraction=0.5, weight_decay=0.1, axes=AXES)),
    "dion2-rms": Case("wide", fo.dion2(0.01, fraction=1.0, consistent_rms=0.2, axes=AXES)),
}
