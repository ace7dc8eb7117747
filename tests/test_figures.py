"""The figures: the data of each exactly, the drawing of each once."""

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from dashboards import figures
from dashboards.costs import Occupied, cost, occupied
from dashboards.errors import ResultsError
from dashboards.figures.comparison import Line
from dashboards.figures.cost import Bar
from dashboards.figures.curves import Curve, quantity
from dashboards.figures.history import Points
from dashboards.figures.importances import Importance
from dashboards.figures.space import space_data
from dashboards.figures.style import plain, plain_names
from dashboards.records import Parameter, Sweep
from dashboards.values import outside, spread, thinned, value_of, view
from dashboards.wording import counted, duration_text, percent_text, short_names, worse_text
from tests.studies import realistic_sweep, sweep_record, trial_record

NAN = math.nan
LR = Parameter("lr", "float", 1e-4, 1.0, log=True)
KIND = Parameter("kind", "categorical", choices=("a", "b"))


def timed(number: int, start: float, seconds: float, worker: str = "w1", state: str = "complete") -> Any:
    timing = {"started": 1000.0 + start, "slot_seconds": seconds, "fit_seconds": seconds / 2}
    steps = {1: 1.0, 2: 0.5} if state == "complete" else {1: 1.0}
    return trial_record(number, state, steps[len(steps)], timing=timing, worker=worker, intermediate=steps)


SWEEP = sweep_record(
    [
        trial_record(0, "complete", 0.5, intermediate={1: 0.9, 2: 0.5}, params={"lr": 0.1, "kind": "a"}),
        trial_record(1, "pruned", 0.8, intermediate={1: 0.8}, params={"lr": 0.2, "kind": "a"}),
        trial_record(2, "diverged", None, intermediate={1: NAN}, params={"lr": 1.0, "kind": "a"}),
        trial_record(3, "complete", 0.3, intermediate={1: 0.7, 2: 0.3}, params={"lr": 0.01, "kind": "b"}),
        trial_record(4, "failed", None, params={"lr": 0.3, "kind": "b"}),
        trial_record(5, "complete", 0.4, intermediate={1: 0.6, 2: 0.4}, params={"lr": 0.02, "kind": "b"}),
        trial_record(6, "running", None, intermediate={1: 0.2}),
    ],
    LR,
    KIND,
)


def test_the_history_has_values_by_state_and_the_best_so_far_of_complete_trials() -> None:
    data = figures.history_data(SWEEP)
    assert data.points == (
        Points("complete", (0, 3, 5), (0.5, 0.3, 0.4)),
        Points("pruned", (1,), (0.8,)),
    )
    assert data.valueless == (Points("diverged", (2,), ()), Points("failed", (4,), ()))
    assert data.best == Points("best", (0, 3, 5), (0.5, 0.3, 0.3))
    assert (data.left_out, data.view) == (0, None)


def test_the_history_shows_the_range_of_the_complete_trials() -> None:
    complete = [trial_record(n, "complete", 1.0 + n / 10) for n in range(5)]
    stopped = [trial_record(n, "pruned", None, intermediate={1: 2.0}) for n in range(5, 30)]
    data = figures.history_data(sweep_record([*complete, *stopped]))
    assert data.view == pytest.approx((0.98, 1.42))
    assert figures.history_data(sweep_record([*complete[:3], *stopped])).view is None
    valueless = figures.draw_history(figures.history_data(sweep_record([trial_record(0, "failed", None)])))
    assert valueless.layout.yaxis.showticklabels is False


def test_the_best_so_far_of_a_maximized_objective_rises() -> None:
    trials = [trial_record(n, "complete", value) for n, value in enumerate([0.1, 0.3, 0.2])]
    data = figures.history_data(sweep_record(trials, direction="maximize"))
    assert data.best == Points("best", (0, 1, 2), (0.1, 0.3, 0.3))


def test_a_long_history_is_thinned_but_keeps_extremes_and_every_best_so_far() -> None:
    values = [5.0, 4.0] + [6.0] * 995 + [3.0, 99.0, 6.0]
    trials = [trial_record(n, "complete", value) for n, value in enumerate(values)]
    data = figures.history_data(sweep_record(trials), most=10)
    (points,) = data.points
    assert {0, 1, 997, 998, 999} <= set(points.numbers)
    assert data.best.numbers == (0, 1, 997, 999)
    assert len(points.numbers) + data.left_out == 1000
    assert len(points.numbers) <= 14


def test_curves_have_each_trials_validations_with_nan_kept_as_a_gap() -> None:
    data = figures.curves_data(SWEEP)
    assert [(c.name, c.state, c.steps) for c in data.curves] == [
        ("0", "complete", (1, 2)), ("1", "pruned", (1,)), ("2", "diverged", (1,)), ("3", "complete", (1, 2)),
        ("5", "complete", (1, 2)), ("6", "running", (1,)),
    ]  # fmt: skip
    assert data.curves[0].values == (0.9, 0.5)
    assert math.isnan(data.curves[2].values[0])
    assert (data.best, data.left_out) == (3, 0)
    figure = figures.draw_curves(data)
    assert [trace.name for trace in figure.data] == [
        "complete", "pruned", "diverged", "running", "best: trial 3",
    ]  # fmt: skip
    assert figure.data[0].y == (0.9, 0.5, None, 0.6, 0.4, None)
    assert figure.data[1].opacity < figure.data[0].opacity  # pruned ones are faded
    assert [trace.mode for trace in figure.data[:2]] == ["lines", "lines+markers"]  # a lone point is seen


def test_of_many_curves_the_best_and_the_extremes_are_drawn() -> None:
    trials = [
        trial_record(n, "complete", 1000.0 - n, intermediate={1: 2000.0, 2: 1000.0 - n}) for n in range(500)
    ]
    trials[7] = trial_record(7, "pruned", 5000.0, intermediate={1: 5000.0})
    data = figures.curves_data(sweep_record(trials), most=50)
    names = {int(curve.name) for curve in data.curves}
    assert set(range(480, 500)) <= names
    assert 7 in names
    assert (len(names), data.left_out) == (50, 450)


def test_train_and_validation_curves_of_one_quantity_belong_together() -> None:
    histories = {
        "val_loss": [(10, 0.5), (20, 0.4)],
        "train_loss_step": [(1, 0.9)],
        "train_loss_epoch": [(10, 0.6), (20, 0.5)],
        "val_acc": [(10, 0.1)],
        "objective": [(0, 0.4)],
    }
    data = figures.logged_data(SWEEP, 3, histories)
    assert data is not None
    assert data.curves == (
        Curve("val_loss", "", (10, 20), (0.5, 0.4)),
        Curve("train_loss_epoch", "", (10, 20), (0.6, 0.5)),
    )
    assert [trace.name for trace in figures.draw_logged(data).data] == ["val_loss", "train_loss_epoch"]
    assert figures.logged_data(SWEEP, 3, {"val_loss": [(1, 0.5)]}) is None


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("val_loss", "loss"),
        ("train/acc_epoch", "acc"),
        ("valid.f1", "f1"),
        ("val_loss/dataloader_idx_0", "loss"),
        ("val_loss_epoch/dataloader_idx_12", "loss"),
        ("value", "value"),
        ("val", "val"),
    ],
)
def test_the_quantity_of_a_metric_has_no_phase(metric: str, expected: str) -> None:
    assert quantity(metric) == expected


def test_importances_find_the_parameter_that_decides_and_measure_conditional_ones_among_their_trials() -> (
    None
):
    trials = []
    for n in range(60):
        params: dict[str, Any] = {"x": n / 60, "noise": (n * 7 % 60) / 60}
        if n % 2:
            params["only"] = (n * 11 % 60) / 60
        trials.append(trial_record(n, "complete", params["x"] ** 2, params=params))
    space = [Parameter(name, "float", 0.0, 1.0) for name in ("x", "noise", "only")]
    data = figures.importances_data(sweep_record(trials, *space))
    assert data.entries[0].name == "x"
    entries = {entry.name: entry for entry in data.entries}
    assert entries["x"].share + entries["noise"].share == pytest.approx(1.0)
    assert entries["x"].share > 0.9
    assert (entries["x"].trials, entries["x"].is_conditional) == (60, False)
    assert (entries["only"].trials, entries["only"].is_conditional) == (30, True)
    assert (data.trials, data.is_enough) == (60, True)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_what_makes_trials_be_pruned_is_important_though_none_of_them_is_complete(direction: str) -> None:
    random, sign = Random(0), 1 if direction == "minimize" else -1
    space = (Parameter("decides", "float", 0.0, 1.0), Parameter("little", "float", 0.0, 1.0))
    trials = []
    for number in range(60):
        params = {parameter.name: random.random() for parameter in space}
        value = sign * (params["decides"] + 0.02 * params["little"])
        ended = ("complete", value) if params["decides"] < 0.2 else ("pruned", None)
        trials.append(trial_record(number, *ended, params=params, intermediate={1: value}))
    found = figures.importances_data(sweep_record(trials, *space, direction=direction))
    assert {entry.name: entry.share > 0.9 for entry in found.entries} == {"decides": True, "little": False}
    assert (found.trials, found.is_enough) == (60, True)


def test_the_best_are_not_the_many_equal_ones_behind_them() -> None:
    space = (Parameter("decides", "float", 0.0, 1.0), Parameter("little", "float", 0.0, 1.0))
    random = Random(0)
    params = [{"decides": n / 60, "little": random.random()} for n in range(60)]
    trials = [trial_record(n, "complete", float(n > 2), params=own) for n, own in enumerate(params)]
    found = figures.importances_data(sweep_record(trials, *space))
    assert found.entries[0].name == "decides"
    assert found.entries[0].share > 0.7


def test_importances_of_few_or_equal_trials_are_empty_or_called_too_few() -> None:
    assert figures.importances_data(SWEEP) == figures.Importances((), 5, is_enough=False)
    same = sweep_record([trial_record(n, "complete", 1.0, params={"lr": 0.1}) for n in range(9)], LR)
    assert figures.importances_data(same).entries == ()


def test_the_importance_figure_has_a_bar_for_each_parameter() -> None:
    entries = (
        Importance("a.lr", "lr", 0.75, 50, is_conditional=False),
        Importance("<b>", "<b>", 0.25, 9, is_conditional=True),
    )
    figure = figures.draw_importances(figures.Importances(entries, 50, is_enough=True))
    assert [(trace.x, trace.y) for trace in figure.data] == [((75.0,), ("lr",)), ((25.0,), ("&lt;b&gt;",))]


def test_slices_contour_and_parallel_coordinates_hold_the_complete_trials() -> None:
    sweep = realistic_sweep(60)
    complete = {t.number for t in sweep.trials if t.state == "complete"}
    slices = figures.slices_data(sweep)
    assert {data.labels[0] for data in slices} == {
        "hidden", "dropout", "batch_size", "optimizer", "adamw.lr", "sgd.lr", "momentum",
    }  # fmt: skip
    both = next(data for data in slices if data.labels == ("dropout",))
    assert {trial.number for trial in both.trials} == complete
    parallel = figures.parallel_data(sweep)
    assert parallel is not None
    assert set(parallel.labels) == {"hidden", "dropout", "batch_size", "optimizer"}  # those of every trial
    contour = figures.contour_data(sweep)
    assert contour is not None
    names = {parameter.name for parameter in contour.parameters}
    assert len(names) == 2
    assert all(names <= trial.params.keys() for trial in contour.trials)


def test_parallel_coordinates_have_choices_in_the_order_of_the_sweep_file() -> None:
    sweep = realistic_sweep(60)
    data = figures.parallel_data(sweep)
    assert data is not None
    figure = figures.draw_parallel(data)
    axis = list(figure.layout.xaxis.ticktext).index("batch_size")
    height = {trace.customdata[axis][1]: trace.y[axis] for trace in figure.data if trace.mode == "lines"}
    assert height == {"32": 0.0, "64": 0.5, "128": 1.0}
    assert {note.text: note.y for note in figure.layout.annotations if note.x == axis} == height


def test_an_axis_names_as_many_choices_and_powers_as_it_has_room_for() -> None:
    kind = Parameter("kind", "categorical", choices=tuple(f"choice {n} of sixty" for n in range(60)))
    trials = [
        trial_record(n, "complete", n / 60, params={"lr": 0.003 + n / 1e4, "kind": kind.choices[n]})
        for n in range(60)
    ]
    sweep = sweep_record(trials, LR, kind)
    by_name = {data.labels[0]: figures.draw_slice(data).layout.xaxis for data in figures.slices_data(sweep)}
    assert by_name["lr"].ticktext == ("0.001", "0.002", "0.005", "0.01", "0.02", "0.05")  # of 1e-4 to 1
    assert by_name["kind"].ticktext[:2] == ("choice 0 of s…", "choice 5 of s…")
    assert len(by_name["kind"].tickvals) == 12
    contour = figures.contour(sweep)
    assert len(contour.layout.xaxis.tickvals) == 12
    notes = [note for note in figures.parallel(sweep).layout.annotations if "choice" in note.text]
    assert (len(notes), sum(note.visible for note in notes)) == (60, 12)


def test_parameters_whose_long_names_begin_alike_are_told_apart() -> None:
    long = "model.encoder.attention_dropout_probability_of_the"
    space = [Parameter(f"{long}_{end}_projection", "float", 0.0, 1.0) for end in ("query", "value")]
    trials = [
        trial_record(n, "complete", n / 9, params={space[0].name: n / 9, space[1].name: 1 - n / 18})
        for n in range(9)
    ]
    sweep = sweep_record(trials, *space)
    [grid] = figures.contour(sweep).select_traces(selector={"type": "contour"})
    assert len(grid.x) > 2
    labels = figures.parallel(sweep).layout.xaxis.ticktext
    assert len(set(labels)) == 3
    assert len({bar for trace in figures.importances(sweep).data for bar in trace.y}) == 2
    assert plain_names(["a" * 60] * 2) == [f"{'a' * 19}…{'a' * 20}", f"{'a' * 19}…{'a' * 20} (2)"]


def test_an_axis_of_few_whole_numbers_has_no_halves() -> None:
    depth = Parameter("depth", "int", 1, 40)
    trials = [trial_record(n, "complete", n / 60, params={"depth": 1 + 2 * n}) for n in range(3)]
    (data,) = figures.slices_data(sweep_record(trials, depth))
    assert list(figures.draw_slice(data).layout.xaxis.tickvals) == [1, 2, 3, 4, 5]
    far = [*trials, trial_record(3, "complete", 0.5, params={"depth": 40})]
    (data,) = figures.slices_data(sweep_record(far, depth))
    assert figures.draw_slice(data).layout.xaxis.tickvals is None  # Plotly's own


def test_a_thinned_space_keeps_the_best_half_and_spreads_the_rest() -> None:
    trials = [trial_record(n, "complete", float(n), params={"lr": 0.1 + n / 1000}) for n in range(100)]
    data = space_data(sweep_record(trials, LR), [LR], 10)
    assert [t.number for t in data.trials] == [0, 1, 2, 3, 4, 5, 29, 52, 75, 99]
    assert (data.left_out, data.outliers) == (90, 0)


def test_a_slice_shows_the_sweeps_trial_numbers() -> None:
    trials = [trial_record(n, "complete", float(n), params={"kind": "ab"[n % 2]}) for n in (3, 4, 9)]
    (data,) = figures.slices_data(sweep_record(trials, KIND))
    (trace,) = figures.draw_slice(data).data
    assert sorted(zip(trace.customdata, trace.x, trace.y, strict=True)) == [
        (3, "'b'", 3.0), (4, "'a'", 4.0), (9, "'b'", 9.0),
    ]  # fmt: skip
    assert figures.draw_slice(data).layout.xaxis.ticktext == ("a", "b")


def test_a_worker_keeps_its_slot_and_a_new_one_takes_the_slot_that_is_free() -> None:
    trials = [timed(0, 0, 10, "w1"), timed(1, 1, 4, "w2"), timed(2, 6, 2, "w3"), timed(3, 10, 5, "w1")]
    assert occupied(trials) == [
        Occupied(0, "complete", "w1", 1, 0.0, 10.0),
        Occupied(1, "complete", "w2", 2, 1.0, 5.0),
        Occupied(2, "complete", "w3", 2, 6.0, 8.0),
        Occupied(3, "complete", "w1", 1, 10.0, 15.0),
    ]


def test_the_timeline_has_a_bar_for_each_trial_and_the_share_of_busy_slots() -> None:
    sweep = sweep_record([timed(0, 0, 60, "w1"), timed(1, 0, 30, "w2", "pruned")])
    data = figures.timeline_data(sweep)
    assert data is not None
    assert data.bars == (
        Bar(1, 0.0, 60.0, "complete", "trial 0, w1"),
        Bar(2, 0.0, 30.0, "pruned", "trial 1, w2"),
    )
    assert (data.slots, data.slice_seconds) == (2, 0.0)
    assert (data.edges[0], data.edges[-1], len(data.edges)) == (0.0, 60.0, 121)
    assert data.busy == pytest.approx([1.0] * 60 + [0.5] * 60)
    figure = figures.draw_timeline(data)
    assert [trace.name for trace in figure.data] == ["complete", "pruned", "busy"]


def test_a_long_timeline_is_cut_into_slices_that_are_joined() -> None:
    trials = [timed(n, n, 1, "w1", "complete" if n < 300 else "pruned") for n in range(400)]
    data = figures.timeline_data(sweep_record(trials), most=100)
    assert data is not None
    assert data.slice_seconds == 4.0
    assert [(bar.start, bar.seconds, bar.state) for bar in data.bars] == [
        (0.0, 300.0, "complete"), (300.0, 100.0, "pruned"),
    ]  # fmt: skip


def test_costs_count_time_validations_saved_and_money() -> None:
    trials = [timed(0, 0, 1800, "w1"), timed(1, 0, 900, "w2", "pruned")]
    found = cost(sweep_record(trials, spec={"price_per_hour": 3}))
    assert (found.wall_seconds, found.slot_seconds, found.fit_seconds) == (1800.0, 2700.0, 1350.0)
    assert (found.slots, found.validations, found.validations_saved) == (2, 3, 1)
    assert found.seconds_saved == 450.0  # one validation at the pruned trial's own pace
    assert found.utilisation == 0.75
    assert found.money == 3.0  # two slots for half an hour
    assert cost(sweep_record(trials)).money is None
    assert cost(sweep_record([])).utilisation is None
    assert cost(sweep_record(trials[1:])).validations_saved is None  # no full training is known


def test_the_time_between_a_stop_and_the_resumption_costs_nothing() -> None:
    week = 7 * 24 * 3600.0
    begun = [timed(0, 0, 1800, "w0"), timed(1, 0, 900, "w1")]
    later = [timed(2, week, 600, "w0"), timed(3, week + 600, 60, "w0")]
    trials = [replace(t, drivers=(0,)) for t in begun] + [replace(t, drivers=(0, 1)) for t in later]
    found = cost(sweep_record(trials, spec={"price_per_hour": 3}))
    assert found.wall_seconds == 1800.0 + 660.0
    assert found.paid_seconds == 2 * 1800.0 + 660.0  # the second driver had one slot
    assert found.money == 3 * found.paid_seconds / 3600


def test_no_more_validations_are_saved_than_the_training_would_have_had() -> None:
    def trained(number: int, state: str, validations: int, **trainer: int) -> Any:
        steps = dict.fromkeys(range(1, validations + 1), 0.5)
        return trial_record(number, state, 0.5, intermediate=steps, config={"trainer": trainer})

    by_epochs = [trained(0, "complete", 50, max_epochs=50), trained(1, "pruned", 3, max_epochs=5)]
    assert cost(sweep_record(by_epochs)).validations_saved == 2
    by_steps = [
        trained(0, "complete", 10, max_steps=1000, max_epochs=-1),
        trained(1, "pruned", 2, max_steps=400),
    ]
    assert cost(sweep_record(by_steps)).validations_saved == 2
    ended_early = [trained(0, "complete", 4, max_epochs=50), trained(1, "pruned", 9, max_epochs=50)]
    assert cost(sweep_record(ended_early)).validations_saved == 0


def test_a_trial_costs_what_all_its_attempts_took() -> None:
    timing = {"started": 1.0, "slot_seconds": 100.0, "fit_seconds": 80.0, "wait_seconds": 0.0}
    trials = [trial_record(0, timing=timing | {"earlier_seconds": 3500.0})]
    found = cost(sweep_record(trials, spec={"price_per_hour": 3}))
    assert (found.slot_seconds, found.fit_seconds, found.money) == (3600.0, 3580.0, 3.0)
    assert (found.paid_seconds, found.utilisation) == (3600.0, 1.0)


def test_saved_counts_pruned_trials_by_validation() -> None:
    trials = [timed(0, 0, 9), *(timed(n, n, 1, state="pruned") for n in (1, 2))]
    data = figures.saved_data(sweep_record(trials))
    assert data == figures.Saved((1,), (2,), planned=2)
    assert figures.draw_saved(data).data[0].y == (2,)
    assert figures.saved_data(sweep_record(trials[1:])) is None


def test_a_comparison_follows_the_best_against_trials_validations_and_seconds() -> None:
    first = sweep_record([timed(1, 5, 10), timed(0, 0, 4, state="pruned")], name="one")
    data = figures.comparison_data([first, sweep_record([], name="none")])
    assert data.lines == (Line("one", (2,), (3,), (15.0,), (0.5,)), Line("none", (), (), (), ()))
    figure = figures.draw_comparison(data, "seconds")
    assert [trace.name for trace in figure.data] == ["one", "none"]
    assert figure.layout.xaxis.title.text == "seconds since the start"


@pytest.mark.parametrize(
    "other",
    [sweep_record([], name="b", metric="acc"), sweep_record([], name="b", direction="maximize")],
    ids=["metric", "direction"],
)
def test_sweeps_of_different_objectives_are_not_compared(other: Sweep) -> None:
    with pytest.raises(ResultsError, match="cannot be compared"):
        figures.comparison_data([SWEEP, other])


@pytest.mark.parametrize(
    "draw",
    [
        figures.history, figures.curves, figures.importances, figures.contour, figures.parallel,
        figures.timeline, figures.saved, lambda sweep: figures.slices(sweep)[0],
        lambda sweep: figures.best_so_far([sweep, sweep]), lambda sweep: figures.edf([sweep]),
    ],
    ids=["history", "curves", "importances", "contour", "parallel", "timeline", "saved", "slices",
         "best_so_far", "edf"],
)  # fmt: skip
def test_every_figure_is_drawn_with_titled_axes(draw: Callable[[Sweep], Any]) -> None:
    figure = draw(realistic_sweep(60))
    assert figure.data
    assert figure.layout.title.text is None  # the page or the notebook's reader names it
    plain_json = figure.to_plotly_json()
    assert plain_json["layout"]["height"] >= 200


@pytest.mark.parametrize("draw", [figures.contour, figures.parallel, figures.timeline, figures.saved])
def test_a_figure_of_nothing_says_what_it_needs(draw: Callable[[Sweep], Any]) -> None:
    with pytest.raises(ResultsError, match="nothing to draw: this figure needs"):
        draw(sweep_record([]))


def test_markup_in_names_is_text_for_plotly() -> None:
    assert plain("<b>a</b> & $x$") == "&lt;b&gt;a&lt;/b&gt; &amp; &#36;x&#36;"
    assert plain("x" * 100, 10) == "x" * 9 + "…"
    assert plain("two\nlines") == "two lines"


def test_a_stopped_trials_value_is_its_last_finite_one() -> None:
    assert value_of(trial_record(0, "pruned", None, intermediate={1: 0.5, 2: NAN})) == 0.5
    assert value_of(trial_record(0, "complete", math.inf, intermediate={1: NAN})) is None


def test_thinning_keeps_ends_and_extremes() -> None:
    values = [1.0] * 100
    values[40], values[60] = 9.0, -9.0
    assert {0, 40, 60, 99} <= set(thinned(values, 10))
    assert len(thinned(values, 10)) == 10
    assert spread(list(range(10)), 4) == [0, 3, 6, 9]
    assert spread(list(range(10)), 2) == [0, 9]
    assert spread(list(range(10)), 1) == [0]
    assert spread([1, 2], 4) == [1, 2]
    assert len(thinned([NAN] * 100, 10)) == 10


def test_the_view_leaves_far_outliers_outside_on_the_bad_side_only() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 1e9]
    range_ = view(values, "minimize")
    assert range_ is not None
    assert range_[0] < 1.0
    assert range_[1] < 100.0
    assert outside(values, range_) == 1
    assert view(values, "maximize") is None
    assert view([1.0, 2.0], "minimize") is None


def test_short_names_are_the_shortest_unique_ends() -> None:
    names = ["model.init_args.lr", "optimizer.sgd.init_args.lr", "data.init_args.size", "lr"]
    assert short_names(names) == {
        "model.init_args.lr": "model.lr", "optimizer.sgd.init_args.lr": "sgd.lr",
        "data.init_args.size": "size", "lr": "lr",
    }  # fmt: skip


def test_numbers_and_durations_are_written_for_people() -> None:
    assert [percent_text(share) for share in (0.0, 0.001, 0.129)] == ["0 %", "<1 %", "13 %"]
    assert [percent_text(share) for share in (0.99, 0.996, 1.0)] == ["99 %", ">99 %", "100 %"]
    assert [worse_text(gap) for gap in (0.0, 0.12345)] == ["equally good", "worse by 0.123"]
    assert (counted(1, "trial"), counted(10_000, "trial")) == ("1 trial", "10,000 trials")
    assert [duration_text(s) for s in (4.21, 200, 7500, None, NAN)] == [
        "4.2 s", "3 min 20 s", "2 h 05 min", "-", "-",
    ]  # fmt: skip
