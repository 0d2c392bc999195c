-- id, owner, why -> 1 where the job waits for a person now: its last unit is released, and nobody begins it until the job is resumed
local id = ARGV[1]
if not owns(id, 'finish', ARGV[2]) then return 0 end
redis.call('HSET', job_key(id), 'paused', 1, 'held', ARGV[3], 'progress_ms', whole(now_ms()))
redis.call('HINCRBY', units_key(id), 'a:finish', -1)
wait_unowned(id, 'finish', 0)
return 1
