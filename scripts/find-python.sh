#!/bin/sh
# Print a Python of version 3.11 or later that can make virtual environments: $PYTHON if it is set,
# else the first on PATH. Says what is missing, and exits 1, when there is none.

IFS=:
seen=''

fits() {
    [ -x "$1" ] && [ ! -d "$1" ] || return 1
    seen="$seen
  $1: $("$1" -c 'import sys
print("Python %d.%d" % sys.version_info[:2])
if sys.version_info >= (3, 11):
    import ensurepip, venv
' 2>&1 | tr '\n' ' ')"
    "$1" -c 'import sys
assert sys.version_info >= (3, 11)
import ensurepip, venv' 2>/dev/null
}

if [ -n "$PYTHON" ]; then
    candidate=$(command -v "$PYTHON") || candidate=$PYTHON
    fits "$candidate" && echo "$candidate" && exit 0
else
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        for folder in $PATH; do
            fits "$folder/$name" && echo "$folder/$name" && exit 0
        done
    done
fi

cat >&2 <<MESSAGE
No Python 3.11 or later that can make virtual environments was found. Looked at:${seen:-
  nothing: there is no Python on PATH}
Install one (on Debian and Ubuntu: python3 and python3-venv), or name it: make setup PYTHON=/path/to/python3.12
MESSAGE
exit 1
