import pickle

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim import State

STATE = State(count=3, mu={"w": 1.0}, index=7)


def test_reads_by_name_by_key_and_by_position():
    assert STATE.mu == STATE["mu"] == STATE[1] == {"w": 1.0}
    assert (len(STATE), list(STATE), STATE._fields) == (3, [*STATE], ("count", "mu", "index"))
    assert STATE[1:] == ({"w": 1.0}, 7)


def test_fields_named_like_methods_of_tuple_are_fields():
    assert (STATE.count, STATE.index) == (3, 7)


def test_a_name_that_is_not_a_field_is_read_from_the_metrics():
    state = State(metrics={"norm": 2.0, "mu": 5.0, "count": 9}, mu=1.0)
    assert (state.norm, state.mu, state.count) == (2.0, 1.0, 9)
    assert "norm" not in state
    assert jax.tree.leaves(state) == [9, 5.0, 2.0, 1.0]
    with pytest.raises(KeyError, match="this state has no field 'norm'; it has metrics, mu"):
        state["norm"]
    with pytest.raises(AttributeError, match="this state has no field 'other'; it has metrics, mu"):
        state.other  # noqa: B018


def test_contains_names_not_values():
    assert "mu" in STATE
    assert 3 not in STATE


def test_replace_changes_one_field():
    assert STATE._replace(count=4) == State(count=4, mu={"w": 1.0}, index=7)
    assert STATE._asdict() == {"count": 3, "mu": {"w": 1.0}, "index": 7}


def test_names_and_order_are_part_of_the_structure():
    structures = [jax.tree.structure(s) for s in (State(a=1, b=2), State(b=2, a=1), State(a=1))]
    assert len(set(structures)) == 3
    assert jax.tree.structure(State(a=5, b=6)) == structures[0]


def test_paths_are_the_field_names():
    (path, _), *_ = jax.tree_util.tree_flatten_with_path(State(adam=State(mu=[1.0])))[0]
    assert jax.tree_util.keystr(path, simple=True, separator=".") == "adam.mu.0"


def test_maps_and_pickles_as_it_is():
    doubled = jax.tree.map(lambda x: 2 * x, State(a=1, b=[2]))
    assert doubled == State(a=2, b=[4])
    assert isinstance(doubled, State)
    copy = pickle.loads(pickle.dumps(STATE))
    assert copy == STATE
    assert copy._fields == STATE._fields


def test_is_a_scan_carry():
    carry, _ = jax.lax.scan(
        lambda s, _: (s._replace(a=s.a + 1), None), State(a=jnp.int32(0)), length=3
    )
    assert carry.a == 3


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda s: s.nu, AttributeError),
        (lambda s: s["nu"], KeyError),
        (lambda s: s._replace(nu=1), ValueError),
    ],
)
def test_an_unknown_field_is_an_error_that_lists_the_known(wrong, error):
    with pytest.raises(error, match="no field 'nu'; it has count, mu, index"):
        wrong(STATE)


def test_is_immutable():
    with pytest.raises(AttributeError, match=r"immutable; use state._replace\(count="):
        STATE.count = 4


def test_the_structure_of_a_state_pickles():
    state = fo.adam(0.1).init({"w": jnp.zeros(2)})
    structure = jax.tree.structure(state)
    assert pickle.loads(pickle.dumps(structure)) == structure
    assert pickle.loads(pickle.dumps(type(state))) is type(state)
    assert pickle.loads(pickle.dumps(fo.State)) is fo.State


def test_the_class_of_a_state_takes_all_fields_or_none():
    kind = type(fo.State(a=1, b=2))
    assert kind(3, 4) == kind(b=4, a=3) == (3, 4)
    for args, kwargs in [
        ((3,), {}),
        ((), {"a": 3}),
        ((3,), {"b": 4}),
        ((), {"a": 3, "b": 4, "c": 5}),
    ]:
        with pytest.raises(TypeError, match="a state with the fields a, b got"):
            kind(*args, **kwargs)
