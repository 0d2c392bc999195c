-- id, unit, owner, reason, message, retention_ms, base_ms, cap_ms, jitter (0..1), last ('1': the unit is given up)
-- -> 1 where the job fails (now, or when chunks under way are finished)
local id, unit = ARGV[1], ARGV[2]
if not owns(id, unit, ARGV[3]) then return 0 end
if unit ~= 'plan' and ARGV[10] ~= '1' and begun_before(id, unit) then
  -- An earlier attempt may have half written the chunk. The unit is tried as often as any chunk, then its items count as failed.
  local attempts = tonumber(redis.call('HGET', units_key(id), 'a:' .. unit))
  wait_unowned(id, unit, math.min(tonumber(ARGV[8]), tonumber(ARGV[7]) * 2 ^ math.min(attempts, 20)) * tonumber(ARGV[9]))
else
  forget_unit(id, unit)
end
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
