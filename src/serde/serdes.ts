/** Every serde of the library under one name: `serdes.string()`, `serdes.json(Order)`. */
import { json } from './json.ts'
import { list } from './list.ts'
import { bigint, boolean, bytes, double, float, int, long, none, short, string, uuid } from './primitives.ts'
import { serde } from './serde.ts'
import { sessionWindowed, timeWindowed } from './windowed.ts'

export const serdes = {
  string,
  bytes,
  short,
  int,
  long,
  bigint,
  float,
  double,
  boolean,
  uuid,
  void: none,
  json,
  list,
  timeWindowed,
  sessionWindowed,
  of: serde,
} as const
