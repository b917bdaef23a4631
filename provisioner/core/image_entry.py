"""`gpuenv-entry`: the script that picks an environment when a container starts.

It is POSIX sh and asks no program but nvidia-smi, so that it runs in any base and takes next to
no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.image_needs import ImageNeeds

CANNOT: Final = 78
"""The exit code where nothing fits: EX_CONFIG of sysexits.h."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """The environment of a profile at a path in the image."""

    profile: str
    path: str
    needs: ImageNeeds


def entry_script(offers: Sequence[Offer], *, root: str = "") -> str:
    """A script that runs its arguments in the first environment that fits the host.

    Without arguments it runs the environment's Python. `GPUENV_PROFILE` names an environment,
    whatever fits. `root` is where `/proc`, `/sys` and `/dev` are looked up.
    """
    lines = [
        " ".join(
            quote(word)
            for word in (
                "offer",
                item.profile,
                item.path,
                item.needs.driver or "",
                " ".join(item.needs.capabilities),
            )
        )
        for item in offers
    ]
    newest = max((item.needs.newest for item in offers), default=0)
    return _SCRIPT.format(root=quote(root), newest=newest, cannot=CANNOT, offers="\n".join(lines))


_SCRIPT: Final = """\
#!/bin/sh
# Runs a command in the first environment of this image that the host can run.
# GPUENV_PROFILE names one, whatever fits.
set -euf
root={root}
newest={newest}
wanted=${{GPUENV_PROFILE:-}}
chosen=
names=
causes=

cause() {{
  causes="$causes  cause: $1
"
}}

fail() {{
  printf 'error: %s\\n%s\\nhint: %s\\n' "$1" "$causes" "$2" >&2
  exit {cannot}
}}

# Whether version $1 is $2 or newer.
at_least() {{
  have=$1. need=$2.
  while [ -n "$need" ]; do
    left=${{have%%.*}} right=${{need%%.*}}
    have=${{have#*.}} need=${{need#*.}}
    if [ "${{left:-0}}" -ne "$right" ]; then
      [ "${{left:-0}}" -gt "$right" ]
      return
    fi
  done
}}

smi() {{
  PATH="$PATH:/usr/lib/wsl/lib" nvidia-smi "--query-gpu=$1" --format=csv,noheader 2>/dev/null
}}

# Words of digits and dots in a text: the first is the version in what the driver says of itself.
version_in() {{
  for word in $1; do
    case $word in
      *[!0-9.]*) ;;
      [0-9]*.[0-9]*) driver=$word; return ;;
    esac
  done
}}

# The driver is in /proc also where no GPU was given to the container.
visible=
set +f
for node in "$root"/dev/nvidia[0-9]* "$root"/dev/dxg; do
  if [ -e "$node" ]; then visible=1; fi
done
set -f

driver=
if [ -n "$visible" ]; then
  line=
  for file in /proc/driver/nvidia/version /sys/module/nvidia/version; do
    if [ -z "$driver" ] && [ -r "$root$file" ]; then
      read -r line <"$root$file" || :
      version_in "$line"
    fi
  done
  if [ -z "$driver" ]; then version_in "$(smi driver_version || :)"; fi
fi

asked=
gpus=
ask_gpus() {{
  if [ -z "$asked" ]; then
    asked=1
    gpus=$(smi compute_cap || :)
  fi
  for gpu in $gpus; do
    case $gpu in
      *[!0-9.]*) gpus= ;;
    esac
  done
}}

# Profile, environment, lowest driver (none: it needs no GPU), compute capabilities.
offer() {{
  names="$names \\`$1\\`"
  if [ -n "$chosen" ]; then return 0; fi
  if [ -n "$wanted" ]; then
    if [ "$1" = "$wanted" ]; then chosen=$2; fi
    return 0
  fi
  if [ -z "$3" ]; then
    if [ -z "$visible" ]; then chosen=$2; return 0; fi
    cause "\\`$1\\` uses no GPU, and there is one"
    return 0
  fi
  if [ -z "$visible" ]; then
    cause "\\`$1\\` needs a GPU, the container has none"
    return 0
  fi
  if [ -z "$driver" ]; then
    cause "\\`$1\\` needs driver >=$3, the host's version cannot be told"
    return 0
  fi
  if ! at_least "$driver" "$3"; then
    cause "\\`$1\\` needs driver >=$3, host has \\`$driver\\`"
    return 0
  fi
  ask_gpus
  if [ -z "$gpus" ]; then
    cause "\\`$1\\` has code for compute capability $4, and nvidia-smi does not tell the GPU's"
    return 0
  fi
  for gpu in $gpus; do
    case " $4 " in
      *" $gpu "*) continue ;;
    esac
    if [ "${{gpu%%.*}}" -le "$newest" ]; then
      cause "\\`$1\\` has no code for compute capability \\`$gpu\\`"
      return 0
    fi
  done
  chosen=$2
}}

{offers}

if [ -z "$chosen" ]; then
  if [ -n "$wanted" ]; then
    fail "this image has no environment \\`$wanted\\`" "GPUENV_PROFILE is one of$names"
  fi
  if [ -z "$visible" ]; then
    fail "no environment of this image fits this host" "docker run --gpus all, or NVIDIA's runtime"
  fi
  fail "no environment of this image fits this host" "GPUENV_PROFILE=NAME runs one of$names even so"
fi
VIRTUAL_ENV=$chosen
PATH=$chosen/bin:$PATH
export VIRTUAL_ENV PATH
if [ "$#" -eq 0 ]; then set -- python; fi
exec "$@"
"""
