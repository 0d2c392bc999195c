-- id, unit, owner, lease_ms -> 1 where the owner still holds it
if not owns(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
redis.call('ZADD', open_key(ARGV[1]), whole(now_ms() + tonumber(ARGV[4])), ARGV[2])
return 1
