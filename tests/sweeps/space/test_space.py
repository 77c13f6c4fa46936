"""The search space of a sweep: what is read, what is refused, and which points it holds."""

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError, UnknownNameError
from dlexp.sweeps.space.space import Parameter, Space

BASE = ExperimentConfig.of(model_args={"depth": 3}, optimizer_args={"nesterov": True})


def parse(text: str, **base: Any) -> Space:
    return Space.parse(text, BASE.replace(**base))


def middle(parameter: Parameter) -> Any:
    """A value between the extremes, as a search would suggest."""
    return parameter.extremes[len(parameter.extremes) // 2]


def _finite(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3, unique_by=repr).map(lambda item: {"choice": item})


def _interval(kind: str, numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(numbers, min_size=2, max_size=2, unique=True).map(lambda ends: {kind: sorted(ends)})


# Spaces are shuffled: conditionals stand before and after what they depend on.
FINITE: dict[str, st.SearchStrategy[Any]] = {
    "small_cnn.dropout": _finite(st.floats(0, 1)),
    "model": st.just({"choice": ["small_cnn", "resnet20"]}) | st.just("small_cnn"),
    "model_args.width": _finite(st.integers(1, 9)),
    "small_cnn.note": _finite(st.text(max_size=5) | st.none()),
    "optimizer": st.lists(st.sampled_from(["sgd", "adam", "lion"]), max_size=2, unique=True).map(
        lambda names: {"choice": ["adamw", *names]}
    ),
    "adamw.beta_1": _finite(st.floats(0.5, 0.9)),
    "augment": _finite(st.lists(st.sampled_from(["flip", "crop"]), max_size=2)),
    "image_size": _finite(st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)).map(list)),
    "seed": _finite(st.integers(0, 99)) | st.integers(1, 4).map(lambda n: {"range": [n]}),
    "deterministic": _finite(st.booleans()),
}
INFINITE = {
    "learning_rate": _interval("log", st.floats(1e-9, 1e3)),
    "weight_decay": _interval("uniform", st.floats(0, 1)),
    "batch_size": _interval("int", st.integers(1, 512)) | _interval("logint", st.integers(1, 512)),
    "adamw.epsilon": _interval("log", st.floats(1e-9, 1)),
}


def spaces(parameters: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Space]:
    needed = {name: parameters[name] for name in ("model", "optimizer")}
    return (
        st.fixed_dictionaries(needed, optional={k: v for k, v in parameters.items() if k not in needed})
        .flatmap(lambda values: st.permutations(list(values.items())))
        .map(lambda items: Space.from_json(json.dumps(dict(items)), BASE))
    )


@given(spaces(FINITE))
def test_grid_has_no_point_twice_and_as_many_as_its_size(space: Space) -> None:
    points = [json.dumps(point) for point in space.grid()]
    assert len(set(points)) == len(points) == space.grid_size()


@given(spaces(FINITE | INFINITE))
def test_json_is_read_back_as_an_equal_space(space: Space) -> None:
    again = Space.from_json(space.to_json(), BASE)
    assert again == space
    assert again.to_json() == space.to_json()


@given(spaces(FINITE | INFINITE), st.randoms(use_true_random=False))
def test_every_drawn_point_gives_a_config_also_from_json(space: Space, source: random.Random) -> None:
    def suggest(parameter: Parameter) -> Any:
        if parameter.is_finite:
            return source.choice(parameter.values)
        low, high = parameter.extremes
        return source.randint(low, high) if "int" in parameter.kind else source.uniform(low, high)

    point = space.draw(suggest)
    assert list(point) == [item.name for item in space.active(point)]
    assert space.config(json.loads(json.dumps(point, sort_keys=True))) == space.config(point)


@given(spaces(FINITE | INFINITE), st.randoms())
def test_every_point_drawn_is_held_and_one_with_a_name_more_or_less_is_not(space: Space, source: random.Random) -> None:
    point = json.loads(json.dumps(space.draw(lambda parameter: source.choice(parameter.extremes))))
    assert space.holds(point)
    assert not space.holds(point | {"epochs": 3})
    name = source.choice([item for item in point if item not in ("model", "optimizer")] or ["model"])
    assert not space.holds({each: value for each, value in point.items() if each != name})


@given(spaces(FINITE | INFINITE))
def test_corners_hold_every_value_and_both_ends(space: Space) -> None:
    corners = [config.flat() for config in space.corner_configs()]
    for parameter in space.parameters:
        field, _, key = parameter.target.partition(".")
        for value in parameter.extremes:
            assert any((corner[field].get(key, "") if key else corner[field]) == value for corner in corners)


@pytest.mark.parametrize(
    ("text", "kind", "extremes"),
    [
        ("learning_rate=log(1e-4,1e-1)", "log", (1e-4, 0.1)),
        ("weight_decay=uniform(0, 1)", "uniform", (0.0, 1.0)),
        ("batch_size=int(8,64)", "int", (8, 64)),
        ("batch_size = logint( 8 , 1e3 )", "logint", (8, 1000)),
        ("seed=range(3)", "choice", (0, 1, 2)),
        ("seed=range(1,3)", "choice", (1, 2)),
        ("seed=range(9,3,-3)", "choice", (9, 6)),
        ("warmup_epochs=range(2)", "choice", (0.0, 1.0)),
        ("model=choice(small_cnn,resnet20)", "choice", ("small_cnn", "resnet20")),
        ("batch_size=64", "choice", (64,)),
        ("deterministic=choice(true,false)", "choice", (True, False)),
        ("image_size=32x48", "choice", ([32, 48],)),
        ("image_size=choice(32,(32,48),'')", "choice", ([32, 32], [32, 48], None)),
        ('augment=choice("flip,crop",flip,"")', "choice", (["flip", "crop"], ["flip"], [])),
        ("augment=choice([flip,crop],())", "choice", (["flip", "crop"], [])),
        ("augment=flip,crop", "choice", (["flip", "crop"],)),
        ("model_args=choice('a=1,b=x','')", "choice", ({"a": 1, "b": "x"}, {})),
        ('model_args.x=choice(2,0.5,none,true,word,"3",[8,16],{"a": ")"})', "choice",
         (2, 0.5, None, True, "word", "3", [8, 16], {"a": ")"})),
        ("dataset=folder:it's here (1)", "choice", ("folder:it's here (1)",)),
        ('dataset="folder:a;b=choice(c)"', "choice", ("folder:a;b=choice(c)",)),
        (r"class_map='it\'s.json'", "choice", ("it's.json",)),
    ],
)  # fmt: skip
def test_text_is_read(text: str, kind: str, extremes: tuple[Any, ...]) -> None:
    [parameter] = parse(text).parameters
    assert (parameter.kind, parameter.extremes) == (kind, extremes)
    assert [type(value) for value in parameter.extremes] == [type(value) for value in extremes]


def test_json_and_text_give_equal_spaces() -> None:
    text = "learning_rate=log(1e-4,0.1); model=choice(small_cnn,resnet20); batch_size=64; seed=range(3)"
    values = {
        "learning_rate": {"log": [1e-4, 0.1]},
        "model": {"choice": ["small_cnn", "resnet20"]},
        "batch_size": 64,
        "seed": {"range": [3]},
    }
    assert parse(text) == Space.from_json(json.dumps(values), BASE)


def test_line_breaks_separate_parameters_but_not_inside_brackets() -> None:
    space = parse("\nseed=range(3)\nmodel=choice(\n  mlp,\n  small_cnn\n);\n")
    assert [parameter.name for parameter in space.parameters] == ["seed", "model"]


def test_parameter_that_others_depend_on_comes_before_them() -> None:
    space = parse("seed=1; resnet20.dropout=0.5; adamw.beta_1=0.8; model=choice(mlp,resnet20)")
    assert [parameter.name for parameter in space.parameters] == ["seed", "model", "resnet20.dropout", "adamw.beta_1"]


def test_conditional_sets_an_entry_where_its_model_is_chosen() -> None:
    space = parse("model=choice(mlp,resnet20); resnet20.dropout=choice(0.1,0.2); seed=range(2)")
    conditional = space.parameters[1]
    assert (conditional.target, conditional.condition) == ("model_args.dropout", ("model", "resnet20"))
    assert [point.get("resnet20.dropout") for point in space.grid()] == [None, None, 0.1, 0.1, 0.2, 0.2]


def test_condition_may_name_a_model_with_dots() -> None:
    space = parse("model=choice(net,net.v2); net.v2.dropout=0.5; net.dropout=0.1")
    assert [space.config(point).flat()["model_args"]["dropout"] for point in space.grid()] == [0.1, 0.5]


def test_condition_on_the_model_of_the_base_applies() -> None:
    space = parse("resnet20.dropout=choice(0.1,0.2)", model="resnet20")
    assert [space.config(point).flat()["model_args"]["dropout"] for point in space.grid()] == [0.1, 0.2]


def test_active_parameters_follow_the_values_chosen() -> None:
    space = parse("model=choice(mlp,resnet20); mlp.width=range(1,3); resnet20.dropout=uniform(0,1)")
    assert [item.name for item in space.active({"model": "resnet20"})] == ["model", "resnet20.dropout"]


def test_last_parameter_of_a_grid_varies_fastest() -> None:
    points = list(parse("epochs=choice(5,7); batch_size=64; seed=range(2)").grid())
    assert points == [
        {"epochs": epochs, "batch_size": 64, "seed": seed} for epochs, seed in itertools.product((5, 7), (0, 1))
    ]


def test_grid_names_the_first_parameter_without_a_list() -> None:
    space = parse("seed=range(2); batch_size=int(8,64); learning_rate=log(0.01,0.1)")
    assert space.grid_size() is None
    with pytest.raises(ConfigError, match=r"batch_size is int\(8,64\): write batch_size=range\(first,end\) or choice"):
        space.grid()


def test_draw_asks_for_what_varies_and_applies_in_order() -> None:
    space = parse("resnet20.dropout=uniform(0,1); mlp.width=range(1,3); model=choice(mlp,resnet20); batch_size=64")
    asked: list[str] = []

    def suggest(parameter: Parameter) -> Any:
        asked.append(parameter.name)
        return middle(parameter)

    assert space.draw(suggest) == {"model": "resnet20", "resnet20.dropout": 1.0, "batch_size": 64}
    assert asked == ["model", "resnet20.dropout"]


def test_entries_are_merged_into_the_mappings_of_the_base() -> None:
    space = parse("model_args.dropout=0.5; optimizer_args=choice(momentum=0.9,momentum=0)")
    configs = [space.config(point).flat() for point in space.grid()]
    assert [config["model_args"] for config in configs] == [{"depth": 3, "dropout": 0.5}] * 2
    assert [config["optimizer_args"] for config in configs] == [
        {"nesterov": True, "momentum": 0.9},
        {"nesterov": True, "momentum": 0},
    ]


def test_values_are_tried_together_with_the_rest_of_the_space() -> None:
    assert parse("folds=10; fold=range(10)").grid_size() == 10  # the base alone has 5 folds
    with pytest.raises(ConfigError, match=r"epochs=5 warmup_epochs=7: .* must be less than epochs=5"):
        parse("epochs=choice(5,10); warmup_epochs=choice(0,7)")


def test_label_tells_what_varies() -> None:
    space = parse("learning_rate=log(1e-4,0.1); model=choice(mlp,resnet20); batch_size=64; augment=choice(flip,'')")
    point = {"model": "resnet20", "augment": ["flip"], "batch_size": 64, "learning_rate": 0.00123456}
    assert space.label(point) == "learning_rate=0.001235 model=resnet20 augment=flip"


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"modle": "mlp"}, "unknown parameter 'modle': did you mean model"),
        ({"model": "mlp", "resnet20.dropout": 0.5}, "resnet20.dropout is in a point that it does not apply to"),
        ({"seed": -1}, "seed=-1 is out of range"),
        ({"model": 3}, "config field model must be str, but is 3"),
    ],
)
def test_point_that_cannot_work_is_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse("model=choice(mlp,resnet20); resnet20.dropout=uniform(0,1); seed=range(3)").config(point)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 parameters: give from 1 to 100"),
        (" ;\n", "0 parameters"),
        ("x" * 2_000_000, "too large"),
        (";".join(f"model_args.a{i}=1" for i in range(101)), "101 parameters"),
        ("seed=1; batch_size 64; epochs=3", "'batch_size 64', which is not name=value"),
        ("=3", "'=3', which is not name=value"),
        ("learning_rate=log(1e-4,1e-1; model=mlp", r"\( that is not closed in 'learning_rate=log\(1e-4,1e-1'"),
        ("seed=1\nlearning_rate=log(1e-4,1e-1\nmodel=mlp", r"\( that is not closed in 'learning_rate=log"),
        ("learning_rate=log(1e-4,1e-1) seed=range(3)", r"\) that closes nothing .* separate parameters by ;"),
        ("model=mlp)", r"\) that closes nothing in 'model=mlp\)'"),
        ("model=choice(mlp]", "] that closes nothing"),
        ("model=choice(mlp)x", r"text after the \) of 'model=choice\(mlp\)x'"),
        ('augment=choice("flip,crop', "quote \" that is not closed in '\"flip,crop'"),
        ("model=choice(a,,b)", "model: choice.* has an empty part"),
        ("model=chioce(a,b)", "model: unknown spec 'chioce': did you mean choice"),
        ("model_args.x=[1,}", "} that closes nothing"),
        ("model_args.x={a}", "model_args.x={a} starts like JSON but is not valid JSON"),
    ],
)
def test_broken_grammar_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet21.dropout=1; model=choice(mlp,resnet20)", "unknown condition 'resnet21': did you mean resnet20"),
        ("small_cnn.dropout=1; model=choice(mlp,resnet20)", "unknown condition 'small_cnn'"),
        ("batch_size.x=1", "unknown condition 'batch_size'"),
        ("same.x=1; model=same; optimizer=same", "same is both a model and an optimizer of this space"),
        ("model_args.=1", "an argument must follow the dot"),
        ("small_cnn.=1", "an argument must follow the dot"),
        ("store=here", "store cannot be searched: it sets where and how runs are written"),
        ("tags.team=a", "tags.team cannot be searched: .* give --tags to the sweep itself"),
        ("plugins=a.py", "plugins cannot be searched: names of plug-ins are looked up once"),
        ("batch_size=64; batch_size=32", "gives batch_size twice"),
        ("small_cnn.x=1; model_args.x=2", "sets model_args.x twice, by small_cnn.x and model_args.x"),
        ("model_args=x=1; model_args.y=2", "sets model_args.y twice, by model_args and model_args.y"),
    ],
)
def test_name_that_cannot_be_searched_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text)


def test_unknown_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean learning_rate"):
        parse("learning_rat=log(0.01,0.1)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate=uniform(0.1,0.1)", r"uniform\(0.1,0.1\) needs low below high"),
        ("learning_rate=log(0.1,0.01)", "needs low below high"),
        ("weight_decay=log(0,1)", "needs low above 0"),
        ("seed=logint(0,9)", "needs low above 0"),
        ("batch_size=int(1.5,3)", r"int needs whole numbers \(.*\), but has 1.5"),
        ("batch_size=int(1,1e30)", "needs whole numbers"),
        ("learning_rate=log(a,1)", "log needs finite numbers, but has 'a'"),
        ("learning_rate=log(0.1,inf)", "log needs finite numbers, but has 'inf'"),
        ("learning_rate=log(0.1)", "log needs low,high, but has 1 values"),
        ("batch_size=uniform(1,64)", r"gives floats, but --batch_size is int: use int\(low,high\) or choice"),
        ("model=uniform(0,1)", "gives floats, but --model is str: use choice"),
        ("deterministic=int(0,1)", "gives whole numbers, but --deterministic is bool"),
        ("image_size=int(8,64)", "gives whole numbers, but --image_size is"),
        ("model=range(3)", "config field model must be str, but is 0"),
        ("seed=choice()", "choice has 0 values: give from 1"),
        ("seed=range(0)", "range has 0 values"),
        ("seed=range(1e9)", "range has 1000000000 values: give from 1 to 1000"),
        ("seed=range(1,9,0)", "a step that is not 0"),
        ("seed=range()", "range needs n or first,end"),
        ("seed=choice(1,2,1)", "choice gives 1 and 1, which are the same value"),
        ("learning_rate=choice(1,1.0)", "choice gives 1.0 and 1.0"),
        ("model_args.x=choice(1,true)", "choice gives 1 and True"),
        ("image_size=choice(32,32x32)", "which are the same value"),
        ("batch_size=choice(8,many)", "batch_size='many' cannot be read: it must be of type int"),
        ("image_size=choice(8,big)", "image_size=big must be height,width"),
        ("learning_rate=nan", "learning_rate=nan .*: numbers must be finite"),
        ("model_args.x=choice(1,1e999)", "model_args.x=inf .*: numbers must be finite"),
        ("seed=int(-1,3)", "seed=-1 is out of range"),
        ("learning_rate=uniform(0,1)", "learning_rate=0.0 is out of range"),
        ("label_smoothing=uniform(0,1)", "label_smoothing=1.0 is out of range"),
        ("lr_schedule=choice(constant,cosin)", "did you mean cosine"),
        ("small_cnn.x=choice(1,2); epochs=0", "epochs=0 is out of range"),
    ],
)
def test_value_that_cannot_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"seed": %s}' % ("1" * 5000), "not valid JSON"),
        (json.dumps({"model": "x" * 2_000_000}), "too large"),
        ("[1]", "must be a JSON object of parameters, but is a list"),
        ("{}", "0 parameters"),
        ('{"seed": 1, "seed": 2}', "gives seed twice in one JSON object"),
        ('{"seed": {"range": [1], "range": [2]}}', "gives range twice in one JSON object"),
        ('{"seed": {"range": [1], "choice": [2]}}', "seed: an object in a space needs exactly one of the keys"),
        ('{"seed": {"rnge": [1]}}', "seed: unknown spec 'rnge': did you mean range"),
        ('{"seed": {"range": 1}}', "seed: range must have a list"),
        ('{"model": 3}', "config field model must be str, but is 3"),
        ('{"model": {"choice": ["mlp", 3]}}', "config field model must be str, but is 3"),
        ('{"seed": {"choice": [1, true]}}', "config field seed must be int, but is True"),
        ('{"seed": {"int": [true, 3]}}', "int needs finite numbers, but has 'True'"),
        ('{"learning_rate": {"log": ["0.1", "1"]}}', "log needs finite numbers, but has '0.1'"),
        ('{"learning_rate": {"log": [1, %s]}}' % ("1" * 400), "log needs finite numbers"),
        ('{"learning_rate": %s}' % ("1" * 400), "learning_rate has a value that is too large"),
        ('{"learning_rate": "0.1"}', "config field learning_rate must be float"),
        ('{"model_args": {"dropout": 1}}', "model_args: unknown spec 'dropout'"),
    ],
)
def test_foreign_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Space.from_json(text, BASE)


# Combinations of some fields, for measurements of what they need.


def combinations(text: str, *fields: str, **base: Any) -> list[dict[str, Any]]:
    return [config.flat() for config in parse(text, **base).combinations(fields)]


def test_combinations_vary_the_chosen_fields_alone() -> None:
    found = combinations("image_size=choice([8,8],[16,16]); seed=range(5); epochs=choice(3,9)", "image_size", "epochs")
    assert [(one["image_size"], one["epochs"], one["seed"]) for one in found] == [
        ([8, 8], 3, 0), ([8, 8], 9, 0), ([16, 16], 3, 0), ([16, 16], 9, 0),
    ]  # fmt: skip


def test_combinations_of_an_interval_are_its_ends() -> None:
    found = combinations("epochs=int(3,90); weight_decay=uniform(0.1,0.2)", "epochs", "weight_decay")
    assert [(one["epochs"], one["weight_decay"]) for one in found] == [(3, 0.1), (3, 0.2), (90, 0.1), (90, 0.2)]


def test_combinations_hold_conditionals_where_they_apply() -> None:
    text = "model=choice(small_cnn,resnet20); resnet20.dropout=choice(0,0.5); model_args.width=choice(1,2)"
    found = combinations(text, "model", "model_args", model_args={})
    assert [(one["model"], one["model_args"]) for one in found] == [
        ("small_cnn", {"width": 1}), ("small_cnn", {"width": 2}),
        ("resnet20", {"dropout": 0, "width": 1}), ("resnet20", {"dropout": 0, "width": 2}),
        ("resnet20", {"dropout": 0.5, "width": 1}), ("resnet20", {"dropout": 0.5, "width": 2}),
    ]  # fmt: skip


def test_combinations_of_no_field_are_one_config() -> None:
    assert len(combinations("model=choice(small_cnn,resnet20); learning_rate=log(1e-4,1e-1)")) == 1


@given(spaces(FINITE | INFINITE))
def test_combinations_of_all_fields_hold_every_extreme(space: Space) -> None:
    found = [config.flat() for config in space.combinations(BASE.flat())]
    for parameter in space.parameters:
        field, _, key = parameter.target.partition(".")
        for value in parameter.extremes:
            assert any((one[field].get(key, "") if key else one[field]) == value for one in found)
