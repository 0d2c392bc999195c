-- id, chunk, owner, items, failed, then pairs of a counter and what it grows by -> 1 where it was recorded, 0 where it had been,
-- or where the owner has lost its lease
local id, chunk, owner = ARGV[1], ARGV[2], ARGV[3]
if not owns(id, chunk, owner) then return 0 end
forget_unit(id, chunk)
local job, now = job_key(id), now_ms()
redis.call('HINCRBY', job, 'chunks_done', 1)
for at = 6, #ARGV, 2 do redis.call('HINCRBY', job, ARGV[at], ARGV[at + 1]) end
redis.call('HSET', recorded_key(id, chunk), chunk, owner .. ':' .. ARGV[5])
redis.call('HSET', job, 'progress_ms', whole(now))

-- Items per stretch of time since the job's creation. Where a job outlives its stretches, each becomes twice as long.
local rates = rates_key(id)
local since = math.max(0, now - tonumber(redis.call('HGET', job, 'created_ms')))
local width = tonumber(redis.call('HGET', rates, 'width_ms') or '@FIRST_STRETCH_MS@')
while math.floor(since / width) >= @STRETCHES@ do
  local merged = {}
  for at = 0, @STRETCHES@ - 1 do
    local items = tonumber(redis.call('HGET', rates, whole(at)) or '0')
    if items > 0 then merged[math.floor(at / 2)] = (merged[math.floor(at / 2)] or 0) + items end
  end
  redis.call('DEL', rates)
  for at, items in pairs(merged) do redis.call('HSET', rates, whole(at), whole(items)) end
  width = width * 2
end
redis.call('HINCRBY', rates, whole(math.floor(since / width)), ARGV[4])
redis.call('HSET', rates, 'width_ms', whole(width))
return 1
