-- id, unit, owner, lease_ms, items that have their vectors -> 1 where the owner still holds it
if not owns(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
redis.call('ZADD', open_key(ARGV[1]), whole(now_ms() + tonumber(ARGV[4])), ARGV[2])
set_worked(ARGV[1], ARGV[2], tonumber(ARGV[5]))
return 1
