"""Pictures of a sweep, drawn by Optuna with matplotlib: its history, and which parameters matter."""

import logging
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlexp.reports.figure import save_figure
from dlexp.sweeps.folder import SweepFolder, Trial
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.ranking import RankedPoint, rank_points
from dlexp.sweeps.search import frozen_trial, import_optuna
from dlexp.sweeps.space.space import Space

_log = logging.getLogger(__name__)
_MOST_PARAMETERS = 8  # more axes would be unreadable


def draw_pictures(folder: SweepFolder, plan: SweepPlan, trials: Sequence[Trial]) -> list[pathlib.Path]:
    """Draws pictures of the points that have a result, and returns the PNG files.

    Nothing is drawn for a list of commands, or for fewer than two points.
    """
    points = rank_points(trials, plan)
    if not isinstance(plan.candidates, Space) or len(points) < 2:
        return []
    study = build_study(plan, plan.candidates, points)
    drawn = []
    for name, draw in _plots(plan, study).items():
        path = folder.path / f"{name}.png"
        if _draw(path, draw):
            drawn.append(path)
    return drawn


def build_study(plan: SweepPlan, space: Space, points: Sequence[RankedPoint]) -> Any:
    """Builds an Optuna study of the points, in the order they were tried, with their mean values."""
    optuna = import_optuna()
    study = optuna.create_study(directions=[objective.direction for objective in plan.objectives])
    for point in sorted(points, key=lambda point: point.trials[0].number):
        study.add_trial(frozen_trial(space, point.trials[0].point, plan.objectives, point.values))
    return study


def _plots(plan: SweepPlan, study: Any) -> Mapping[str, Callable[[], Any]]:
    from optuna.visualization import matplotlib as plots

    varied = sorted({name for trial in study.trials for name in trial.params})[:_MOST_PARAMETERS]
    first = plan.objectives[0].name
    if len(plan.objectives) > 1:
        names = [objective.name for objective in plan.objectives]
        return {"pareto_front": lambda: plots.plot_pareto_front(study, target_names=names)} if len(names) < 4 else {}
    chosen: dict[str, Callable[[], Any]] = {
        "history": lambda: plots.plot_optimization_history(study, target_name=first),
    }
    if varied:
        chosen["slices"] = lambda: plots.plot_slice(study, params=varied, target_name=first)
    if len(varied) > 1:
        chosen["importance"] = lambda: plots.plot_param_importances(study, params=varied, target_name=first)
        chosen["parallel"] = lambda: plots.plot_parallel_coordinate(study, params=varied, target_name=first)
    return chosen


def _draw(path: pathlib.Path, draw: Callable[[], Any]) -> bool:
    """Draws one picture; returns False if Optuna has nothing to draw, for example if no parameter varied."""
    import matplotlib

    matplotlib.use("agg")  # the plots use pyplot, which would look for a screen
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the plots are marked experimental
        try:
            axes = draw()
            figure = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
            if path.stem == "parallel":
                figure.set_size_inches(11, 5)
                figure.subplots_adjust(bottom=0.25)  # room for the slanted names; no layout engine can place these axes
            else:
                # The constrained layout cannot place a color bar next to a single plot.
                figure.set_layout_engine("constrained" if hasattr(axes, "flat") else "tight")
            save_figure(figure, path)
        except (ValueError, RuntimeError) as err:
            _log.info("%s was not drawn: %s", path.name, err)
            return False
        finally:
            plt.close("all")
    return True
