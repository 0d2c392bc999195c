-- id, retention_ms -> the state after it, '' where there is no such job, 'ENDED' where it had ended before
local id = ARGV[1]
local state = state_of(id)
if state == '' then return '' end
if state == 'CANCELLING' then return state end
if state == 'PENDING' then
  finish(id, 'CANCELLED', ARGV[2])
elseif move(id, 'CANCELLING') then
  drop_never_begun(id)
else
  return 'ENDED'
end
return state_of(id)
