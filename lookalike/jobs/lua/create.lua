-- id, collection, collection_uid, source, request_id, fingerprint, send_grace_ms, options, '1' if a last unit follows its chunks,
-- '1' if it writes with its own revision, as what the items count that it has not come to when it succeeds,
-- the trace that asked for it or ''
-- -> {job id, fingerprint, 1 if it is new}
local id, collection, request_id = ARGV[1], ARGV[2], ARGV[5]
local request = 'lookalike:request:' .. request_id
local known = redis.call('HMGET', request, 'job', 'fingerprint')
if known[1] and redis.call('EXISTS', job_key(known[1])) == 1 then return {known[1], known[2], 0} end
local revision = whole(next_of('lookalike:revision:' .. collection))
local created = whole(next_of('lookalike:created'))
redis.call('HSET', job_key(id), 'state', 'PENDING', 'collection', collection, 'collection_uid', ARGV[3], 'source', ARGV[4],
  'options', ARGV[8], 'request_id', request_id, 'revision', revision, 'created_ms', created, 'submitted', 0, 'indexed', 0, 'skipped', 0,
  'failed', 0, 'chunks_total', 0, 'chunks_done', 0, 'next_chunk', 0, 'progress_ms', created)
redis.call('HSET', request, 'job', id, 'fingerprint', ARGV[6])
redis.call('ZADD', open_key(id), whole(now_ms() + tonumber(ARGV[7])), 'plan')
redis.call('ZADD', 'lookalike:jobs', created, id)
redis.call('ZADD', 'lookalike:jobs:of:' .. collection, created, id)
if ARGV[9] == '1' then redis.call('HSET', job_key(id), 'finish', 'wanted') end
if ARGV[12] ~= '' then redis.call('HSET', job_key(id), 'trace', ARGV[12]) end
if ARGV[11] ~= '' then redis.call('HSET', job_key(id), 'rest', ARGV[11]) end
if ARGV[10] == '1' then redis.call('ZADD', 'lookalike:active:' .. collection, revision, id) end
redis.call('SADD', 'lookalike:active', id)
return {id, ARGV[6], 1}
