-- id, window, grace_ms, base_ms, jitter (0..1), total -> {'1' if the job can be closed, units to send now...}
-- Units whose lease or patience has run out, and new chunks as long as fewer than `window` are open, or fewer than the job's even
-- share of `total`, which all unfinished jobs together may have open. Each job may always have one.
local id, grace = ARGV[1], tonumber(ARGV[3])
local share = math.floor(tonumber(ARGV[6]) / math.max(1, redis.call('SCARD', 'lookalike:active')))
local window = math.max(1, math.min(tonumber(ARGV[2]), share))
local state, now = state_of(id), now_ms()
if MOVES[state] == nil or next(MOVES[state]) == nil then return {'0'} end
local sent, paused = {}, is_paused(id)
for _, unit in ipairs(paused and {} or redis.call('ZRANGEBYSCORE', open_key(id), '-inf', whole(now), 'LIMIT', 0, window)) do
  local held = redis.call('HDEL', units_key(id), 'o:' .. unit) == 1
  if held then set_worked(id, unit, 0) end
  local attempts = tonumber(redis.call('HGET', units_key(id), 'a:' .. unit) or '0')
  if held and attempts > 1 then
    -- Its workers have died more than once: it may be what kills them, so it is kept apart in time from its neighbours.
    redis.call('ZADD', open_key(id), whole(now + tonumber(ARGV[4]) * 2 ^ math.min(attempts, 6) * tonumber(ARGV[5])), unit)
  else
    local sends = redis.call('HINCRBY', units_key(id), 's:' .. unit, 1)
    redis.call('ZADD', open_key(id), whole(now + grace * 2 ^ math.min(sends - 1, 5)), unit)
    sent[#sent + 1] = unit
  end
end
local counts = redis.call('HMGET', job_key(id), 'next_chunk', 'chunks_total', 'chunks_done')
local chunk, total = tonumber(counts[1]), tonumber(counts[2])
if state == 'RUNNING' and not paused then
  local room = window - redis.call('ZCARD', open_key(id))
  while room > 0 and chunk < total do
    redis.call('ZADD', open_key(id), whole(now + grace), whole(chunk))
    redis.call('HSET', units_key(id), 's:' .. whole(chunk), 1)
    sent[#sent + 1] = whole(chunk)
    chunk, room = chunk + 1, room - 1
  end
  redis.call('HSET', job_key(id), 'next_chunk', whole(chunk))
end
local chunks_done = state == 'RUNNING' and tonumber(counts[3]) == total
local unfinished = chunks_done and redis.call('HGET', job_key(id), 'finish') == 'wanted'
if unfinished and not paused and not redis.call('ZSCORE', open_key(id), 'finish') then
  redis.call('ZADD', open_key(id), whole(now + grace), 'finish')
  redis.call('HSET', units_key(id), 's:finish', 1)
  sent[#sent + 1] = 'finish'
end
local complete = (chunks_done and not unfinished)
  or (state == 'CANCELLING' and redis.call('ZCARD', open_key(id)) == 0)
table.insert(sent, 1, complete and '1' or '0')
return sent
