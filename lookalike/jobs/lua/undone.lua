-- id, images -> 1 where it was noted that this many more of the job's images were deleted
if redis.call('EXISTS', job_key(ARGV[1])) == 0 then return 0 end
redis.call('HINCRBY', job_key(ARGV[1]), 'undone', ARGV[2])
redis.call('HSET', job_key(ARGV[1]), 'undone_ms', whole(now_ms()))
return 1
