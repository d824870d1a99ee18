"""The optimizers of matrices, with arguments under which a few updates do all that they ever do."""

import functional_optim as fo

__all__ = ["make_all"]


def make_all(axes=None, learning_rate=0.01):
    """Makes all of them by name; those that refresh something do it every 2 updates."""
    lr, every = learning_rate, {"axes": axes, "precondition_frequency": 2}
    return {
        "adamuon": fo.adamuon(lr, axes=axes),
        "apollo": fo.apollo(lr, rank=2, update_proj_gap=2, axes=axes),
        "apollo_mini": fo.apollo_mini(lr, update_proj_gap=2, scale=4.0, axes=axes),
        "dion": fo.dion(lr, rank_fraction=0.5, axes=axes),
        "dion2": fo.dion2(lr, fraction=0.5, axes=axes),
        "galore": fo.galore(lr, rank=2, update_proj_gap=2, weight_dimension_numbers=axes),
        "kl_shampoo": fo.kl_shampoo(lr, **every),
        "kl_soap": fo.kl_soap(lr, **every),
        "muon": fo.muon(lr, muon_weight_dimension_numbers=axes),
        "normuon": fo.normuon(lr, axes=axes),
        "psgd_kron": fo.psgd_kron(lr, preconditioner_update_probability=1.0, axes=axes),
        "scion": fo.scion(lr, 1.0, axes=axes),
        "shampoo": fo.shampoo(lr, b2=0.9, eps=1e-6, **every),
        "soap": fo.soap(lr, **every),
        "soap_muon": fo.soap_muon(lr, **every),
    }
