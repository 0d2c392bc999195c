-- id, unit, owner, base_ms, cap_ms, jitter (0..1), counted -> milliseconds until it is sent again, -1 where it will not be
-- Gives a unit back unfinished, for a reason that will pass: not counted as an attempt, unless `counted` is '1'. base_ms 0 gives
-- it back for now.
-- So also while the job is cancelled: somebody began this chunk, so it may be half written.
local id, unit = ARGV[1], ARGV[2]
if not owns(id, unit, ARGV[3]) then return -1 end
local base = tonumber(ARGV[4])
local retries = base > 0 and redis.call('HINCRBY', units_key(id), 'r:' .. unit, 1) or 1
local delay = math.min(tonumber(ARGV[5]), base * 2 ^ math.min(retries - 1, 20)) * tonumber(ARGV[6])
if ARGV[7] ~= '1' then redis.call('HINCRBY', units_key(id), 'a:' .. unit, -1) end
return wait_unowned(id, unit, delay)
