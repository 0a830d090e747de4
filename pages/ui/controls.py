"""The tuning controls, drawn from the declarations of the steps."""

from __future__ import annotations

import streamlit as st

from pages.ui.state import Session, show
from xray_core.params import Choice, Parameter, Range, Value
from xray_core.pipeline import defaults
from xray_core.steps import STEPS, Step


def draw(session: Session) -> None:
    """Draw a switch for each step and, where it is on, its parameters."""
    for step in STEPS.values():
        if _idle(session, step):
            continue
        with st.container(border=True, gap="small", key=f"step-{step.name}"):
            _head(session, step)
            if session.settings[step.path("on")]:
                for name, parameter in step.parameters.items():
                    if name != "on" and _matters(session, step, parameter):
                        _control(session, step.path(name), parameter)


def _idle(session: Session, step: Step) -> bool:
    # Gray films pass the step that makes them gray untouched: its choice would do nothing.
    return step.name == "grayscale" and session.film is not None and session.film.pixels.ndim == 2


def _matters(session: Session, step: Step, parameter: Parameter) -> bool:
    if parameter.needs is None:
        return True
    sibling, value = parameter.needs
    return session.settings[step.path(sibling)] == value


def _head(session: Session, step: Step) -> None:
    usual = defaults()
    paths = [step.path(parameter) for parameter in step.parameters]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        if step.switchable:
            path = step.path("on")
            st.toggle(step.label, key=_shown(session, path), help=step.help, on_change=_take, args=(session, path))
        else:
            st.markdown(step.label, help=step.help)
        st.button(
            "",
            icon=":material/restart_alt:",
            key=f"reset {step.name}",
            help=f"Back to the defaults of {step.label}",
            type="tertiary",
            disabled=all(session.settings[path] == usual[path] for path in paths),
            on_click=_reset,
            args=(session, paths),
        )


def _control(session: Session, path: str, parameter: Parameter) -> None:
    key = _shown(session, path)
    change = {"on_change": _take, "args": (session, path)}
    if isinstance(parameter, Choice):
        st.selectbox(
            parameter.label,
            list(parameter.options),
            format_func=parameter.options.__getitem__,
            key=key,
            help=parameter.help,
            **change,
        )
    elif isinstance(parameter, Range):
        number = int if parameter.whole else float
        st.slider(
            _label(parameter, session.settings[path]),
            number(parameter.low),
            number(parameter.high),
            step=number(parameter.step),
            format=_format(parameter),
            key=key,
            help=parameter.help,
            **change,
        )


def _format(parameter: Range) -> str:
    decimals = len(f"{parameter.step:g}".partition(".")[2])
    return f"%.{decimals}f" if not parameter.whole else "%d"


def _label(parameter: Range, value: Value) -> str:
    unit = f" ({parameter.unit})" if parameter.unit else ""
    if parameter.good is None:
        return parameter.label + unit
    inside = parameter.good[0] <= value <= parameter.good[1]
    return f"{parameter.label}{unit}  :{'green' if inside else 'orange'}-badge[good {parameter.good_text()}]"


def _shown(session: Session, path: str) -> str:
    """Put the session's value into a widget's state and return the widget's key."""
    key = f"set {path}"
    show(key, session.settings[path])
    return key


def _take(session: Session, path: str) -> None:
    session.set(path, st.session_state[f"set {path}"])


def _reset(session: Session, paths: list[str]) -> None:
    usual = defaults()
    session.replace(session.settings | {path: usual[path] for path in paths})
