-- id, unit, owner, lease_ms -> attempt (from 1), 0 where it is not to be done (any more), -1 where somebody else is at it
local id, unit, owner = ARGV[1], ARGV[2], ARGV[3]
local due = tonumber(redis.call('ZSCORE', open_key(id), unit) or '-1')
if due < 0 then return 0 end
local holder = redis.call('HGET', units_key(id), 'o:' .. unit)
local now = now_ms()
if is_paused(id) and holder ~= owner then return 0 end
if holder and holder ~= owner and due > now then return -1 end
if holder ~= owner then set_worked(id, unit, 0) end
if unit == 'plan' and state_of(id) == 'PENDING' then move(id, 'PLANNING') end
redis.call('HSET', units_key(id), 'o:' .. unit, owner)
redis.call('HDEL', units_key(id), 's:' .. unit)
redis.call('ZADD', open_key(id), whole(now + tonumber(ARGV[4])), unit)
if holder == owner then return tonumber(redis.call('HGET', units_key(id), 'a:' .. unit)) end
return redis.call('HINCRBY', units_key(id), 'a:' .. unit, 1)
