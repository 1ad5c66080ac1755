# SPDX-License-Identifier: Apache-2.0
"""``openstack complete --shell bash-values``: the client's completion, with the values of our options.

Contract: the script of cliff, which completes commands and options, and before it what completes the value of
an option of one of our commands that has a fixed set of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from cliff import complete

GROUP = "openstack.imagetools.v1"
# cmds_<command> has the options of a command; <this>_<command>_<option> the values of an option.
PREFIX = "values"
VALUES = """
  # The value of an option: the command is what stands before the first option.
  local option="${prev}" typed="${cur}" path="" name values="" word
  if [ "${cur}" = "=" ] ; then
    typed=""
  elif [ "${prev}" = "=" ] ; then
    option="${words[${#words[@]}-3]}"
  fi
  if [[ ${option} == --* ]] ; then
    for word in "${words[@]:1}"; do
      if [[ ${word} == -* ]] ; then
        break
      fi
      path="${path}_${word}"
      name="values${path}_${option}"
      name="${name//[^a-zA-Z0-9_]/_}"
      values="${!name:-${values}}"
    done
    if [ -n "${values}" ] ; then
      COMPREPLY=( $(compgen -W "${values}" -- "${typed}") )
      return 0
    fi
  fi
"""


class CompleteBashValues(complete.CompleteBash):
    """Completion for bash, with the values of options."""

    def write(self, cmdo: str, data: list[tuple[str, str]]) -> None:
        self._values = dict(option_values())
        super().write(cmdo, data)

    def get_trailer(self) -> str:
        known = "".join(f"  local {name}='{' '.join(values)}'\n" for name, values in self._values.items())
        return f"{known}{VALUES}{super().get_trailer()}"


def option_values() -> Iterator[tuple[str, list[str]]]:
    """The name of a variable of the script, and the values of the option that it is for."""
    from importlib.metadata import entry_points

    for entry_point in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        parser = entry_point.load()(None, None).get_parser(entry_point.name)
        for action in parser._actions:
            for option in action.option_strings if action.choices else ():
                if option.startswith("--"):
                    name = f"{PREFIX}_{entry_point.name}_{option}"
                    yield "".join(c if c.isalnum() else "_" for c in name), [str(v) for v in action.choices]
