-- id, chunk, owner, indexed, failed, then pairs of skip reason and count -> 1 where it was recorded, 0 where it had been,
-- or where the owner has lost its lease
local id, chunk, owner = ARGV[1], ARGV[2], ARGV[3]
if not owns(id, chunk, owner) then return 0 end
forget_unit(id, chunk)
local job = job_key(id)
redis.call('HINCRBY', job, 'chunks_done', 1)
redis.call('HINCRBY', job, 'indexed', ARGV[4])
redis.call('HINCRBY', job, 'failed', ARGV[5])
for at = 6, #ARGV, 2 do
  redis.call('HINCRBY', job, 'skipped', ARGV[at + 1])
  redis.call('HINCRBY', job, 'skip:' .. ARGV[at], ARGV[at + 1])
end
if tonumber(ARGV[5]) > 0 then
  redis.call('ZADD', failures_key(id), chunk, chunk .. ':' .. owner .. ':' .. ARGV[5])
end
return 1
