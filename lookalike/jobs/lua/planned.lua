-- id, owner, manifest, submitted, skipped, chunks, unidentified, then pairs of skip:reason and count -> 1 where it was recorded
local id = ARGV[1]
if not owns(id, 'plan', ARGV[2]) or not move(id, 'RUNNING') then return 0 end
forget_unit(id, 'plan')
redis.call('HSET', job_key(id), 'manifest', ARGV[3], 'submitted', ARGV[4], 'skipped', ARGV[5], 'chunks_total', ARGV[6],
  'listed', ARGV[4], 'unidentified', ARGV[7], 'planned_ms', whole(now_ms()), 'progress_ms', whole(now_ms()))
for at = 8, #ARGV, 2 do redis.call('HSET', job_key(id), ARGV[at], ARGV[at + 1]) end
return 1
