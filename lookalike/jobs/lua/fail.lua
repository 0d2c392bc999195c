-- id, unit, owner, reason, message, retention_ms -> 1 where the job fails (now, or when chunks under way are finished)
local id, unit = ARGV[1], ARGV[2]
if not owns(id, unit, ARGV[3]) then return 0 end
forget_unit(id, unit)
if state_of(id) ~= 'CANCELLING' then
  redis.call('HSET', job_key(id), 'error_reason', ARGV[4], 'error_message', ARGV[5])
  if unit == 'plan' then
    finish(id, 'FAILED', ARGV[6])
  else
    move(id, 'CANCELLING')
    drop_never_begun(id)
  end
end
return 1
