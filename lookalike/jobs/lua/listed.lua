-- id, owner, items -> 1 where it was noted: how far its planner is
if not owns(ARGV[1], 'plan', ARGV[2]) then return 0 end
redis.call('HSET', job_key(ARGV[1]), 'listed', ARGV[3], 'progress_ms', whole(now_ms()))
return 1
