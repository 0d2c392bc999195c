-- id, '1' to pause, '0' to go on -> the state after it, '' where there is no such job, 'ENDED' where it has ended,
-- 'STOPPING' where it is to be paused and is being cancelled
local id, pause = ARGV[1], ARGV[2] == '1'
local state = state_of(id)
if state == '' then return '' end
if next(MOVES[state]) == nil then return 'ENDED' end
if pause then
  if state == 'CANCELLING' then return 'STOPPING' end
  redis.call('HSET', job_key(id), 'paused', 1)
elseif redis.call('HDEL', job_key(id), 'paused') == 1 then
  if redis.call('HDEL', job_key(id), 'held') == 1 then redis.call('HSET', job_key(id), 'forced', 1) end
  redis.call('HSET', job_key(id), 'progress_ms', whole(now_ms()))
  -- What was sent before the pause was not begun and will not come again by itself: it is due now, as if never sent.
  for _, unit in ipairs(redis.call('ZRANGE', open_key(id), 0, -1)) do
    if not redis.call('HGET', units_key(id), 'o:' .. unit) then
      redis.call('HDEL', units_key(id), 's:' .. unit)
      redis.call('ZADD', open_key(id), whole(now_ms()), unit)
    end
  end
end
return state
