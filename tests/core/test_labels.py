import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

PARAMS = {
    "layers": [{"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)} for _ in range(2)],
    "scale": jnp.ones(()),
}


def test_the_first_rule_that_matches_a_path_gives_the_label():
    label = fo.path_labels({r"layers\.0": "first", "bias$": "bias"}, default="rest")
    assert label(PARAMS) == {
        "layers": [{"kernel": "first", "bias": "first"}, {"kernel": "rest", "bias": "bias"}],
        "scale": "rest",
    }


def test_a_rule_may_be_a_predicate_of_path_and_leaf():
    label = fo.path_labels([(lambda path, leaf: leaf.ndim == 2, True)], default=False)
    assert jax.tree.leaves(label(PARAMS)) == [False, True, False, True, False]


def test_a_rule_that_gives_no_leaf_its_label_is_an_error_that_shows_paths():
    label = fo.path_labels({"biass$": "b"}, default="rest")
    with pytest.raises(
        ValueError, match=r"'biass\$' for 'b' matches no parameter.*layers\.0\.bias"
    ):
        label(PARAMS)


def test_a_rule_whose_leaves_an_earlier_one_took_is_an_error():
    label = fo.path_labels([("bias", "a"), ("bias$", "b")], default="rest")
    with pytest.raises(
        ValueError, match=r"'bias\$' for 'b' matches only parameters of earlier rules"
    ):
        label(PARAMS)


def test_a_predicate_that_gives_no_leaf_its_label_is_named():
    def is_matrix(path, leaf):
        return leaf.ndim > 1

    with pytest.raises(ValueError, match=r"the rule is_matrix for 'm' matches no parameter"):
        fo.path_labels([(is_matrix, "m")], default="rest")({"b": jnp.ones(2)})


def test_a_tree_without_leaves_has_no_labels():
    assert fo.path_labels({"bias$": "b"})({"a": None}) == {"a": None}


def test_an_invalid_regular_expression_is_refused_at_once():
    with pytest.raises(
        ValueError, match=r"path_labels: '\(' is not a regular expression: missing \)"
    ):
        fo.path_labels({"(": 1}, default=0)


def test_many_paths_are_not_all_shown():
    params = {f"p{i}": jnp.ones(()) for i in range(20)}
    with pytest.raises(ValueError, match=r"p0, p1, .*, \.\.\.") as error:
        fo.path_labels({"q": 1}, default=0)(params)
    assert len(str(error.value)) < 300


def test_labels_need_only_shapes():
    label = fo.path_labels([(lambda path, leaf: leaf.ndim == 2, True)], default=False)
    assert label(jax.eval_shape(lambda: PARAMS)) == label(PARAMS)


def test_rules_are_values():
    assert fo.path_labels({"a": 1}) == fo.path_labels([("a", 1)])
    assert hash(fo.path_labels({"a": 1})) == hash(fo.path_labels([("a", 1)]))
