#!/bin/sh
# Ask for a verdict over HTTP, where shadowctl is not: begins the run, waits, and ends as `shadowctl verdict --gate` does.
#
#   SHADOWD_DOOR=http://shadowd-gate.shadowd.svc:9752 SHADOWD_TOKEN=… ./ask.sh FILTER BUILD [SECONDS]
#
#   0 pass   1 fail   3 inconclusive when the time (600 s) was over
#   2 the command was wrong: no such filter, no line of text as a build (400, 404)
#   4 could not ask: not reachable, no right (401, 403), another build is judged by now (409), a node in trouble
#
# Needs curl and jq. The token stays out of the list of processes.
set -u
[ $# -ge 2 ] || { echo "usage: SHADOWD_DOOR=http://HOST:PORT [SHADOWD_TOKEN=…] ask.sh FILTER BUILD [SECONDS]" >&2; exit 2; }
door=${SHADOWD_DOOR:?the address of the door, such as http://127.0.0.1:9750}
for program in curl jq; do
    command -v "$program" >/dev/null || { echo "could not ask: there is no $program here" >&2; exit 4; }
done
filter=$(jq -rn --arg text "$1" '$text|@uri')
build=$(jq -rn --arg text "$2" '$text|@uri')
until=$(($(date +%s) + ${3:-600}))
pause=${SHADOWD_PAUSE:-5}
answer=$(mktemp) || exit 4
trap 'rm -f "$answer"' EXIT

ask() { # curl's arguments; sets $status, 000 where there is no answer
    status=$(printf 'header = "Authorization: Bearer %s"\n' "${SHADOWD_TOKEN-}" |
        curl --silent --max-time 15 --output "$answer" --write-out '%{http_code}' --header 'X-Shadowd: run' --config - "$@")
}

said() { # why, from the answer
    jq -r '.error // (.reasons // [] | join("; "))' "$answer" 2>/dev/null || head -c 300 "$answer"
}

failures=0
trouble() { # what the last answer was no answer to: five in a row are the end
    failures=$((failures + 1))
    echo "$1: status $status $(said)" >&2
    case $status in
    400 | 404) exit 2 ;;
    401 | 403) exit 4 ;;
    esac
    if [ "$failures" -ge 5 ]; then exit 4; fi
    sleep "$pause"
}

while ask --request POST "$door/run/$filter?label=$build"; [ "$status" != 200 ]; do trouble "the run did not begin"; done
failures=0
while :; do
    ask "$door/verdict?filter=$filter&label=$build"
    verdict=$(jq -r 'if .error then "none" else .verdict end' "$answer" 2>/dev/null) || verdict=none
    if [ "$status" = 200 ] && [ "$verdict" != none ]; then
        failures=0
        case $verdict in
        pass) echo "pass: $(said)"; exit 0 ;;
        fail) echo "fail: $(said)"; exit 1 ;;
        esac
        if [ "$(date +%s)" -ge "$until" ]; then echo "inconclusive: $(said)"; exit 3; fi
        sleep "$pause"
    else
        trouble "could not ask"
    fi
done
