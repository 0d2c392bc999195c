-- id, retention_ms -> the state it ended in, '' where it cannot end yet
local id = ARGV[1]
local counts = redis.call('HMGET', job_key(id), 'chunks_done', 'chunks_total', 'error_reason', 'finish')
local state = state_of(id)
local to = ''
if state == 'RUNNING' and counts[1] == counts[2] and counts[4] ~= 'wanted' then to = 'SUCCEEDED' end
if state == 'CANCELLING' and redis.call('ZCARD', open_key(id)) == 0 then to = counts[3] and 'FAILED' or 'CANCELLED' end
if to == '' or not finish(id, to, ARGV[2]) then return '' end
return to
