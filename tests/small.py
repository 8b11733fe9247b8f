"""The small pipeline of many tests; PROMPTS stands for the path of its rows."""

SMALL = """\
version: 1
name: small
source:
  jsonl: {path: PROMPTS, shard_rows: 8, columns: {id: id, prompt: prompt}}
engines:
  small: {scripted: {}}
stages:
  - exact_dedup
  - generate: {engine: small, n: 3}
  - likelihood: {engine: small}
  - combine
  - best_worst
  - margin: {at_least: 0.01}
"""
