-- id, owner, then pairs of a field of the job and its value -> 1 where the job's last unit was recorded
local id = ARGV[1]
if not owns(id, 'finish', ARGV[2]) then return 0 end
forget_unit(id, 'finish')
redis.call('HSET', job_key(id), 'finish', 'done')
for at = 3, #ARGV, 2 do redis.call('HSET', job_key(id), ARGV[at], ARGV[at + 1]) end
return 1
