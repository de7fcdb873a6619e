#!/usr/bin/env bash
# The main path on the project's own data: one sentence and a file in, a trained and evaluated model out.
# `make demo` runs this with the project's .venv on PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# 600 messages to an online shop, Chinese and English. The sentence alone says which column is the answer.
autogpt fit "Sort customer messages into categories" \
    --data examples/data/customer_messages.jsonl --name demo --fresh --budget 150s

printf '\nThree messages that it has never seen:\n'
for message in \
    "My parcel was due on Monday and the tracking page has not changed since" \
    "买错尺码了，想退货，钱多久能退回来？" \
    "I cannot log in, it keeps saying my password is wrong"; do
    printf '\n> %s\n' "$message"
    autogpt generate demo "$message"
done

printf '\nTry next:  .venv/bin/autogpt generate demo "your own message"\n'
