"""The declarations of steps, parameters and metrics, as the viewer draws its controls and its table from them."""

from __future__ import annotations

from xray_core.metrics import METRICS, Metric, Targets
from xray_core.params import Choice, Parameter, Range
from xray_core.steps import STEPS, Step

Drawn = dict[str, object]


def steps(*, colour: bool) -> list[Drawn]:
    """Return every step with its parameters, in running order.

    Parameters
    ----------
    colour
        Whether the film is one of colour: a gray one passes the step that makes it gray untouched, so that step's
        choice would do nothing and is left out.
    """
    return [_step(step) for step in STEPS.values() if colour or step.name != "grayscale"]


def _step(step: Step) -> Drawn:
    return {
        "name": step.name,
        "label": step.label,
        "help": step.help,
        "switch": step.path("on") if step.switchable else "",
        "on": step.parameters["on"].default,
        "parameters": [_parameter(step, name, p) for name, p in step.parameters.items() if name != "on"],
    }


def _parameter(step: Step, name: str, parameter: Parameter) -> Drawn:
    drawn: Drawn = {
        "path": step.path(name),
        "label": parameter.label,
        "help": parameter.help,
        "default": parameter.default,
    }
    if parameter.needs:
        sibling, value = parameter.needs
        drawn["needs"] = [step.path(sibling), value]
    if isinstance(parameter, Choice):
        drawn["options"] = dict(parameter.options)
    elif isinstance(parameter, Range):
        drawn |= {
            "low": parameter.low,
            "high": parameter.high,
            "step": parameter.step,
            "decimals": 0 if parameter.whole else len(f"{parameter.step:g}".partition(".")[2]),
            "whole": parameter.whole,
            "unit": parameter.unit,
            "good": list(parameter.good) if parameter.good else None,
            "good_text": parameter.good_text(),
        }
    return drawn


def metrics(targets: Targets) -> list[Drawn]:
    """Return every metric with the band that is wanted of it."""
    return [_metric(metric, targets) for metric in METRICS.values()]


def _metric(metric: Metric, targets: Targets) -> Drawn:
    band = metric.band(targets[metric.name]) if metric.name in targets else ""
    return {"name": metric.name, "label": metric.label, "help": metric.help, "band": band}
