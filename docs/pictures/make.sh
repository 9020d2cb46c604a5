#!/usr/bin/env bash
# Makes the pictures in this folder from a running shop: storefront.png and console-*.png with Chromium, ps.svg and up.svg with tmux;
# and those of drills, from one of the shop and from one that finds a bug that was put in on purpose.
# Needs chromium and tmux, and the ports 7070 and 8080 free.
set -euo pipefail
cd "$(dirname "$0")/../.."

data=$(mktemp -d)
session="holdfast-pictures-$$"
finish() {
  tmux send-keys -t "$session" C-c 2>/dev/null || true
  for _ in $(seq 60); do bin/holdfast ps >/dev/null 2>&1 || break; sleep 0.5; done
  tmux kill-session -t "$session" 2>/dev/null || true
  rm -rf "$data"
}
trap finish EXIT

capture() { # tmux session, name of the picture, title
  tmux capture-pane -e -p -t "$1" | sed "s#login=[A-Za-z0-9_-]*#login=…#; s#$data#/tmp#" | go run ./docs/pictures -title "$3" >"docs/pictures/$2.svg"
}

go build -o bin/holdfast ./cmd/holdfast
tmux new-session -d -s "$session" -x 104 -y 26 "PS1='$ ' bash --norc --noprofile"
tmux send-keys -t "$session" "clear; bin/holdfast up examples/shop --data $data/shop" Enter
for _ in $(seq 240); do
  curl -fs -o "$data/products" 'http://127.0.0.1:8080/api/products?limit=1' 2>/dev/null && break
  sleep 0.5
done
sleep 2 # the last frame
capture "$session" up 'holdfast up examples/shop'

shot() { # name, window size, URL
  chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$data/chromium" \
    --window-size="$2" --virtual-time-budget=5000 --screenshot="docs/pictures/$1.png" "$3" >/dev/null 2>&1
}
shot storefront 1280,900 http://127.0.0.1:8080/

tmux new-session -d -s "$session-ps" -x 124 -y 34 "PS1='$ ' bash --norc --noprofile"
tmux send-keys -t "$session-ps" 'clear; bin/holdfast kill orders-1; bin/holdfast ps' Enter
sleep 3
capture "$session-ps" ps 'holdfast kill, holdfast ps'
tmux kill-session -t "$session-ps"

# The console, while customers are there and things break.
go run ./examples/shop/smoke -short >"$data/smoke" 2>&1 &
smoke=$!
sleep 30
HOLDFAST_PICTURES="$PWD/docs/pictures" go test -tags pictures -count=1 -run TestConsolePictures ./docs/pictures
wait "$smoke" || cat "$data/smoke"

bin/holdfast drill --html "$data/drill.html" examples/shop leaders-die
shot drill 1200,1710 "file://$data/drill.html"
go run ./bench/bugs -only stale -out "$data/bugs"
shot drill-noticed 1200,1770 "file://$data/bugs/stale.html"
ls -l docs/pictures
