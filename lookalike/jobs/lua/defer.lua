-- id, unit, delay_ms -> 1 where it waits now: a unit that nobody holds, sent to somebody who cannot begin it yet
local id, unit = ARGV[1], ARGV[2]
if not redis.call('ZSCORE', open_key(id), unit) or redis.call('HEXISTS', units_key(id), 'o:' .. unit) == 1 then return 0 end
redis.call('HDEL', units_key(id), 's:' .. unit)
wait_unowned(id, unit, tonumber(ARGV[3]))
return 1
