#!/usr/bin/env bash
# Builds the images, brings the stack up from nothing, and tries on it what deploy/README.md promises. From the root of a clone that
# has been installed (`make install`):
#
#   deploy/checks/compose.sh                                  with Docker
#   CONTAINERS=podman COMPOSE=podman-compose deploy/checks/compose.sh
#
# BUILD_OPTIONS are given to every build (a proxy's certificates, say). The check takes some 15 minutes, uses the ports 50051 and 8080 of
# 127.0.0.1 and the project name `lookalike`, and deletes that project's volumes at the beginning and at the end.
# The README's commands are taken from there and run as they stand (`readme`).
set -euo pipefail
cd "$(dirname "$0")/../.."

CONTAINERS=${CONTAINERS:-docker}
COMPOSE=${COMPOSE:-docker compose}
BUILD_OPTIONS=${BUILD_OPTIONS:-}
FILE=deploy/compose.yaml
VERSION=0.1.0 # of pyproject.toml and compose.yaml
IMAGES=${IMAGES:-9000}
work=$(mktemp -d)
chmod 755 "$work"
export PATH="$PWD/.venv/bin:$PATH" LOOKALIKE_ADDRESS=127.0.0.1:50051 LOOKALIKE_SOURCES="$work"

say() { printf '\n== %s\n' "$*"; }
compose() { $COMPOSE -f "$FILE" "$@"; }
ready() { timeout 300 sh -c 'until curl -fs --max-time 5 http://127.0.0.1:8080/readyz >/dev/null; do sleep 1; done'; }
# The block of commands in the README whose first line begins with $1, run line by line from the root of the clone, with CONTAINERS
# and COMPOSE for its docker and podman.
readme() (
  docker() {
    [ "$1" = compose ] || { command $CONTAINERS "$@"; return; }
    local arguments=()
    for argument in "${@:2}"; do # podman-compose must build nothing: see the README
      [ "$CONTAINERS" != docker ] && [ "$argument" = --build ] || arguments+=("$argument")
    done
    command $COMPOSE "${arguments[@]}"
  }
  podman() {
    # shellcheck disable=SC2086 # options are several words
    if [ "$1" = build ]; then command $CONTAINERS build $BUILD_OPTIONS "${@:2}"; else command $CONTAINERS "$@"; fi
  }
  awk -v first="$1" '
    /^```/ { if (inside && found) exit; inside = !inside; begun = 0; next }
    inside && !begun { begun = 1; found = index($0, first) == 1 }
    inside && found' deploy/README.md >"$work/readme.sh"
  [ -s "$work/readme.sh" ] || { echo "the README has no block that begins with: $1"; exit 1; }
  mapfile -t lines <"$work/readme.sh"
  for line in "${lines[@]}"; do # not as one: where this is followed by ||, bash would go on after a line that failed
    echo "\$ $line"
    eval "$line" || exit 1
  done
)
container() { $CONTAINERS ps --format '{{.Names}}' | grep -E "lookalike[-_]$1[-_]1"; }
made=(mine deploy/secrets build/backups) # as the README calls them: they may be somebody's own
for path in "${made[@]}"; do
  [ ! -e "$path" ] || { echo "$path is there already, and this would delete it"; exit 1; }
done
clean() {
  compose down -v >/dev/null 2>&1 || true
  rm -rf "$work" "${made[@]}"
}
trap clean EXIT

say "the file is one that compose takes"
compose config >"$work/config.yaml"
grep -q 'lookalike/gateway' "$work/config.yaml"

say "every image builds"
[ "$CONTAINERS" = docker ] || readme 'podman build --format docker' >"$work/gateway.log" 2>&1 || { tail -30 "$work/gateway.log"; exit 1; }
for target in gateway indexer embedder; do
  format=$([ "$CONTAINERS" = docker ] || echo --format docker)
  # shellcheck disable=SC2086 # options are several words
  $CONTAINERS build $BUILD_OPTIONS $format -t "lookalike/$target:$VERSION" --target "$target" -f deploy/Dockerfile . >"$work/$target.log" 2>&1 \
    || { tail -30 "$work/$target.log"; exit 1; }
done
$CONTAINERS images --format '{{.Repository}}:{{.Tag}} {{.Size}}' | grep -E "lookalike/(gateway|indexer|embedder):$VERSION"
for target in gateway indexer; do
  # shellcheck disable=SC2016 # for the shell in the container
  $CONTAINERS run --rm "lookalike/$target:$VERSION" sh -c \
    '! python -c "import tensorflow" 2>/dev/null && ! command -v gcc cc >/dev/null && [ "$(id -u)" = 10001 ]' \
    || { echo "lookalike/$target holds TensorFlow or a compiler, or runs as root"; exit 1; }
done

say "it comes up from nothing"
compose down -v >/dev/null 2>&1 || true
# By a pipe: who opens standard error anew would cut a file.
readme 'docker compose -f deploy/compose.yaml up --build -d' 2>&1 | cat >"$work/up.log" || { tail -30 "$work/up.log"; exit 1; }
sed -n '/^\$ lookalike demo/,/^\$ docker compose/p' "$work/up.log"

say "and again on the volumes that it left"
compose up -d >"$work/up.log" 2>&1 || { tail -30 "$work/up.log"; exit 1; }
ready
for service in gateway indexer embedder; do
  timeout 120 sh -c "until $CONTAINERS exec $(container $service) python -m lookalike.runtime.probe 127.0.0.1:50053; do sleep 2; done" 2>/dev/null
  if $CONTAINERS exec "$(container $service)" sh -c 'touch /home/lookalike/x 2>/dev/null'; then
    echo "$service can write to its root file system"
    exit 1
  fi
done

say "memory at rest"
$CONTAINERS stats --no-stream --format '{{.Name}} {{.MemUsage}}'

say "the README's commands for collections and models"
python - "$work" "$IMAGES" <<'PYTHON'
import pathlib, sys
from lookalike import fashion_mnist
from lookalike.demo import dataset
folder, count = pathlib.Path(sys.argv[1]) / "pictures", int(sys.argv[2])
folder.mkdir()
for number, image in enumerate(fashion_mnist.load("test", fashion_mnist.SHIPPED).images[:count]):
    (folder / f"{number:05d}.png").write_bytes(dataset.png(image))
PYTHON
mkdir "$work/few" && cp "$work"/pictures/000*.png "$work/few"
lookalike ingest "$work/few" --collection pictures --create --model fashion --watch >"$work/few.txt" 2>&1 || { cat "$work/few.txt"; exit 1; }
readme 'lookalike collections export'
cp -r embedder/bundles/photo mine && sed -i 's/"name": "photo"/"name": "mine"/' mine/bundle.json
readme 'tar -c mine'
readme 'lookalike collections reembed'
lookalike collections show pictures

say "the end-to-end tests"
LOOKALIKE_TESTED=127.0.0.1:50051 LOOKALIKE_TESTED_HTTP=http://127.0.0.1:8080 \
  python -m pytest -q -p no:cacheprovider tests/e2e/test_cli.py tests/e2e/test_backup.py tests/e2e/test_evaluate.py tests/e2e/test_page.py | tail -12

say "killing every container in turn during a job loses nothing"
lookalike ingest "$work/pictures" --collection kills --create --model fashion >"$work/job.txt" 2>&1 || { cat "$work/job.txt"; exit 1; }
state() { lookalike jobs list --collection kills --json | python -c 'import json, sys; print(json.load(sys.stdin)[0]["state"])'; }
for service in indexer milvus embedder redis gateway; do
  [ "$(state)" = running ] || { echo "the job is $(state) before $service is killed: give it more IMAGES"; exit 1; }
  echo "kill $service"
  name=$(container $service)
  $CONTAINERS kill "$name" >/dev/null 2>&1
  $CONTAINERS start "$name" >/dev/null 2>&1
  sleep 4 # until the gateway has looked again
  ready
done
for _ in $(seq 300); do [ "$(state)" = running ] || break; sleep 2; done
lookalike jobs list --collection kills
[ "$(state)" = succeeded ]
lookalike collections show kills --json | python -c "
import json, sys
count = int(json.load(sys.stdin)['image_count'])
assert count == $IMAGES, f'{count} images of $IMAGES'
print(f'{count} images of $IMAGES are there, each once')"

say "down and up again on the same volumes"
compose down >/dev/null 2>&1
compose up -d >/dev/null 2>&1
ready
# A Milvus that has just started answers, and loads its collections for a while.
for _ in $(seq 60); do lookalike search "$work/pictures/00007.png" --collection kills -k 1 2>/dev/null && break; sleep 2; done
lookalike search "$work/pictures/00007.png" --collection kills -k 1 --json | grep -q 00007.png

say "a password for Redis, and a wrong one"
compose down >/dev/null 2>&1
readme 'mkdir -p -m 700 deploy/secrets' >/dev/null 2>&1
ready
echo "ready with the right one"
$CONTAINERS exec "$(container redis)" sh -c \
  'REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli config set requirepass another' >/dev/null
$CONTAINERS restart "$(container indexer)" >/dev/null
timeout 60 sh -c "until $CONTAINERS logs $(container indexer) 2>&1 | grep -q 'refuses the password'; do sleep 1; done"
$CONTAINERS logs "$(container indexer)" 2>&1 | grep 'refuses the password' | tail -1
if $CONTAINERS exec "$(container indexer)" python -m lookalike.runtime.probe 127.0.0.1:50053 2>"$work/probe.txt"; then exit 1; fi
cat "$work/probe.txt"
$CONTAINERS exec "$(container indexer)" python -c \
  'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:9102/metrics").read().decode())' \
  | grep 'lookalike_dependency_up{dependency="redis"} 0.0'

say "a Milvus that wants a token: a wrong one, then the right one"
$COMPOSE -f "$FILE" -f deploy/compose.secrets.yaml down >/dev/null 2>&1
cat >"$work/token.yaml" <<YAML
name: lookalike
services:
  milvus:
    environment: {COMMON_SECURITY_AUTHORIZATIONENABLED: "true"}
  indexer: &token
    environment: {LOOKALIKE_MILVUS_TOKEN_FILE: /run/secrets/milvus_token}
    volumes: ["$work/token:/run/secrets/milvus_token:ro"]
  gateway: *token
YAML
echo root:wrong >"$work/token"
$COMPOSE -f "$FILE" -f "$work/token.yaml" up -d >/dev/null 2>&1
for _ in $(seq 120); do $CONTAINERS logs "$(container indexer)" 2>&1 | grep -q 'refuses the credentials' && break; sleep 2; done
$CONTAINERS logs "$(container indexer)" 2>&1 | grep 'refuses the credentials' | tail -1
for _ in $(seq 30); do curl -s http://127.0.0.1:8080/readyz | grep -q 'refuses the credentials' && break; sleep 1; done
curl -s http://127.0.0.1:8080/readyz
echo
echo root:Milvus >"$work/token" # what a new Milvus has
ready
echo "ready with the right one, and nothing was restarted"

say "all of it held"
