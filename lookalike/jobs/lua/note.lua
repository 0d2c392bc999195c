-- id, unit, owner, then pairs of a field of the job and its value -> 1 where the owner holds the unit still, and they are set
if not owns(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
redis.call('HSET', job_key(ARGV[1]), 'progress_ms', whole(now_ms()))
for at = 4, #ARGV, 2 do redis.call('HSET', job_key(ARGV[1]), ARGV[at], ARGV[at + 1]) end
return 1
