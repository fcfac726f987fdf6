"""New times for entries where they lie, by a script that Valkey runs: no value travels.

CRC-32 is linear: changing the header by a difference changes the checksum by the checksum, from
zero and uninverted, of that difference (the header comes last in it, see `codec.py`). So the script
needs neither the body nor a table.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cachelayer.remote import Command

MAGIC_AND_FORMAT = b"\xc1CL\x01"

# ARGV: fresh_until and expires as the header has them (bytes 14 to 29), the life in milliseconds,
# and the header's first bytes. Returns how many of KEYS were entries.
SCRIPT = """
local function step(crc, byte)
  crc = bit.bxor(crc, byte)
  for _ = 1, 8 do
    local low = bit.band(crc, 1)
    crc = bit.rshift(crc, 1)
    if low == 1 then crc = bit.bxor(crc, 0xEDB88320) end
  end
  return crc
end
local touched = 0
for _, key in ipairs(KEYS) do
  local head = redis.pcall('GETRANGE', key, 0, 36)
  if type(head) == 'string' and #head == 37 and head:sub(1, 4) == ARGV[3] then
    local crc = 0
    for i = 14, 33 do
      local new = ARGV[1]:byte(i - 13)
      crc = step(crc, new and bit.bxor(head:byte(i), new) or 0)
    end
    local sum = ''
    for i = 0, 3 do
      local part = bit.band(bit.rshift(crc, 24 - 8 * i), 255)
      sum = sum .. string.char(bit.bxor(head:byte(34 + i), part))
    end
    redis.call('SETRANGE', key, 13, ARGV[1])
    redis.call('SETRANGE', key, 33, sum)
    redis.call('PEXPIRE', key, ARGV[2])
    touched = touched + 1
  end
end
return touched
"""


def touch_commands(
    keys: Sequence[str], *, until: float, ttl: float, is_cluster: bool
) -> list[Command]:
    """Commands that let entries live until `until` (time.time()), `ttl` seconds from now."""
    times = struct.pack(">dd", until, until)
    arguments = (times, int(ttl * 1000), MAGIC_AND_FORMAT)
    if is_cluster:
        return [("EVAL", SCRIPT, 1, key, *arguments) for key in keys]
    return [("EVAL", SCRIPT, len(keys), *keys, *arguments)] if keys else []
