-- id, chunk, owner, items, failed, then pairs of a counter and what it grows by -> 1 where it was recorded, 0 where it had been,
-- or where the owner has lost its lease
local id, chunk, owner = ARGV[1], ARGV[2], ARGV[3]
if not owns(id, chunk, owner) then return 0 end
forget_unit(id, chunk)
local job = job_key(id)
redis.call('HINCRBY', job, 'chunks_done', 1)
for at = 6, #ARGV, 2 do redis.call('HINCRBY', job, ARGV[at], ARGV[at + 1]) end
redis.call('HSET', recorded_key(id, chunk), chunk, owner .. ':' .. ARGV[5])
return 1
