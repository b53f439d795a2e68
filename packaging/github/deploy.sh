#!/usr/bin/env bash
# What the action does. Values come as variables and stay data.
set -euo pipefail
arguments=(deploy --wait "${INPUT_WAIT:-bake}" --app-dir "${INPUT_APP_DIR:-.}")
if [[ -n "${INPUT_HOST:-}" ]]; then arguments+=(--host "$INPUT_HOST"); fi
if [[ -n "${INPUT_ENVIRONMENT:-}" ]]; then arguments+=(--environment "$INPUT_ENVIRONMENT"); fi
if [[ -n "${INPUT_SOURCE:-}" ]]; then arguments+=(-- "$INPUT_SOURCE"); fi
exec "${INPUT_ALCEDO:-alcedo}" "${arguments[@]}"
