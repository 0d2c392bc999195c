-- Runs before every script. Keys, the clock, moves between states, and how a job ends.
-- Redis runs one script at a time, so each is a transaction. All times are Redis' own, in milliseconds: workers' clocks may differ.
--
-- lookalike:job:{id}            hash   the job: state, counters, what was asked for
-- lookalike:job:{id}:open       zset   units of work handed out and not done ("plan", a chunk's number, "finish") -> when to look again:
--                                      the end of the lease, or when to send it again where nobody holds it
-- lookalike:job:{id}:units      hash   per open unit: o:{unit} owner, a:{unit} attempts, r:{unit} transient retries, s:{unit} sends,
--                                      d:{unit} items of a chunk that have their vectors,
--                                      i:{unit} position of the item that its worker is at, where workers died of the chunk
-- lookalike:job:{id}:recorded:{n} hash chunks n*100 to n*100+99 that are recorded -> "{owner}:{items failed}"; names the outcome
--                                      files. A hundred to a hash, since Redis packs a hash of up to 128 short entries
-- lookalike:job:{id}:rates      hash   width_ms: length of a stretch of time; {n}: items recorded in the n-th since the creation
-- lookalike:jobs                zset   all jobs -> creation time (unique); lookalike:jobs:of:{collection} the same of one collection
-- lookalike:created             string the last creation time given out
-- lookalike:active              set    jobs that have not ended
-- lookalike:active:{collection} zset   jobs that have not ended -> revision
-- lookalike:request:{id}        hash   request id -> job, fingerprint of the request
-- lookalike:revision:{coll}     string the last revision taken
-- lookalike:buried:{coll}       zset   deleted ids -> revision of the delete
-- lookalike:lock:{name}         string token of who holds it
-- lookalike:suspects            hash   pictures that the embedder may have died of -> how often it has when it had no other
-- lookalike:suspects:seen       zset   the same pictures -> when that was last; bounded in number and age
-- lookalike:ping                string nothing: whether Redis takes writes is found out by writing it

local MOVES = @MOVES@

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function whole(number) return string.format('%.0f', number) end

local function job_key(id) return 'lookalike:job:' .. id end
local function open_key(id) return 'lookalike:job:' .. id .. ':open' end
local function units_key(id) return 'lookalike:job:' .. id .. ':units' end
local function recorded_key(id, chunk)
  return 'lookalike:job:' .. id .. ':recorded:' .. string.format('%.0f', math.floor(tonumber(chunk) / @CHUNKS_TOGETHER@))
end

local function rates_key(id) return 'lookalike:job:' .. id .. ':rates' end

local function state_of(id) return redis.call('HGET', job_key(id), 'state') or '' end

local function move(id, to)
  local from = state_of(id)
  if not MOVES[from] or not MOVES[from][to] then return false end
  redis.call('HSET', job_key(id), 'state', to)
  if to ~= 'PLANNING' and to ~= 'RUNNING' then redis.call('HDEL', job_key(id), 'paused', 'held') end
  return true
end

local function is_paused(id) return redis.call('HEXISTS', job_key(id), 'paused') == 1 end

local function next_of(key)
  -- Never goes back, not even when Redis has lost its data.
  local last = tonumber(redis.call('GET', key) or '0')
  local next = math.max(last + 1, now_ms())
  redis.call('SET', key, whole(next))
  return next
end

local function set_worked(id, unit, items)
  -- How many of an open chunk's items have their vectors; the job's own counter, `worked`, is the sum over its open chunks.
  local before = tonumber(redis.call('HGET', units_key(id), 'd:' .. unit) or '0')
  if items == before then return end
  if items == 0 then redis.call('HDEL', units_key(id), 'd:' .. unit) else redis.call('HSET', units_key(id), 'd:' .. unit, whole(items)) end
  redis.call('HINCRBY', job_key(id), 'worked', whole(items - before))
end

local function forget_unit(id, unit)
  set_worked(id, unit, 0)
  redis.call('HDEL', units_key(id), 'o:' .. unit, 'a:' .. unit, 'r:' .. unit, 's:' .. unit, 'i:' .. unit)
  return redis.call('ZREM', open_key(id), unit)
end

local function owns(id, unit, owner)
  return redis.call('HGET', units_key(id), 'o:' .. unit) == owner and redis.call('ZSCORE', open_key(id), unit)
end

local function wait_unowned(id, unit, delay_ms)
  -- Lets go of a unit until it is due again; the wait in whole milliseconds. What was worked on is to be done again.
  set_worked(id, unit, 0)
  redis.call('HDEL', units_key(id), 'o:' .. unit)
  redis.call('ZADD', open_key(id), whole(now_ms() + delay_ms), unit)
  return math.floor(delay_ms)
end

local function begun_before(id, unit)
  -- Whether its holder is not the first to begin it, or has laid it down before.
  local begun = redis.call('HMGET', units_key(id), 'a:' .. unit, 'r:' .. unit)
  return tonumber(begun[1] or '0') > 1 or tonumber(begun[2] or '0') > 0
end

local function drop_never_begun(id)
  -- A chunk that somebody began may be half written, so it is finished; planning writes nothing that is kept.
  for _, unit in ipairs(redis.call('ZRANGE', open_key(id), 0, -1)) do
    if unit == 'plan' or not redis.call('HGET', units_key(id), 'a:' .. unit) then forget_unit(id, unit) end
  end
end

local function count_rest(id, reason)
  local counts = redis.call('HMGET', job_key(id), 'submitted', 'indexed', 'skipped', 'failed')
  local rest = tonumber(counts[1]) - tonumber(counts[2]) - tonumber(counts[3]) - tonumber(counts[4])
  if rest > 0 then
    redis.call('HINCRBY', job_key(id), 'skipped', rest)
    redis.call('HINCRBY', job_key(id), 'skip:' .. reason, rest)
  end
end

local function finish(id, to, retention_ms)
  if not move(id, to) then return false end
  if to == 'CANCELLED' then count_rest(id, '@SKIPPED_CANCELLED@') end
  if to == 'FAILED' then count_rest(id, '@SKIPPED_NOT_ATTEMPTED@') end
  local rest = redis.call('HGET', job_key(id), 'rest')
  if to == 'SUCCEEDED' and rest then count_rest(id, rest) end
  local fields = redis.call('HMGET', job_key(id), 'collection', 'request_id')
  local collection = fields[1]
  redis.call('HSET', job_key(id), 'ended_ms', whole(now_ms()))
  redis.call('DEL', open_key(id), units_key(id))
  redis.call('HDEL', job_key(id), 'worked')
  redis.call('SREM', 'lookalike:active', id)
  redis.call('ZREM', 'lookalike:active:' .. collection, id)
  redis.call('PEXPIRE', job_key(id), retention_ms)
  redis.call('PEXPIRE', rates_key(id), retention_ms)
  for chunk = 0, tonumber(redis.call('HGET', job_key(id), 'chunks_total')) - 1, @CHUNKS_TOGETHER@ do
    redis.call('PEXPIRE', recorded_key(id, chunk), retention_ms)
  end
  redis.call('PEXPIRE', 'lookalike:request:' .. fields[2], retention_ms)
  -- A tombstone matters to unfinished jobs older than the delete only.
  local oldest = redis.call('ZRANGE', 'lookalike:active:' .. collection, 0, 0, 'WITHSCORES')
  if oldest[2] then
    redis.call('ZREMRANGEBYSCORE', 'lookalike:buried:' .. collection, '-inf', oldest[2])
  else
    redis.call('DEL', 'lookalike:buried:' .. collection)
  end
  return true
end
