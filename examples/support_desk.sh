#!/usr/bin/env bash
# Two tasks, one model: sort messages to a shop into categories, and write the reply.
# Run with the project's .venv on PATH; takes about five minutes. Another budget: support_desk.sh 10m
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One file has both answers. The same messages are held out for both tasks: a message whose reply was learnt would not
# be unseen when it is to be sorted.
python - "$work" <<'PY'
import json, pathlib, sys

rows = [json.loads(line) for line in open("examples/data/customer_messages.jsonl", encoding="utf-8")]
for name, chosen in (("train", rows[100:]), ("test", rows[:100])):
    for task in ("category", "reply"):
        lines = [json.dumps({"message": row["message"], task: row[task]}, ensure_ascii=False) for row in chosen]
        pathlib.Path(sys.argv[1], f"{task}.{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
PY

autogpt fit "Sort customer messages into categories; write a reply to the customer's message" \
    --data "$work/category.train.jsonl" --data "$work/reply.train.jsonl" \
    --test "$work/category.test.jsonl" --test "$work/reply.test.jsonl" \
    --name support-desk --fresh --budget "${1:-5m}"

for message in "My parcel was due on Monday and the tracking page has not changed since" "买错尺码了，想退货，钱多久能退回来？"; do
    printf '\n> %s\n' "$message"
    autogpt generate support-desk --task category "$message"
    autogpt generate support-desk/reply "$message"
done
printf '\nTry next:  .venv/bin/autogpt models show support-desk\n'
