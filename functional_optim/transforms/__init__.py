"""Links that are not algorithms: clipping, decay, momentum, scaling, masking."""
