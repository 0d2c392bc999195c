-- name, token, ttl_ms -> 1 where the token holds it now: taken anew, or renewed
local key = 'lookalike:lock:' .. ARGV[1]
local holder = redis.call('GET', key)
if holder and holder ~= ARGV[2] then return 0 end
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
return 1
