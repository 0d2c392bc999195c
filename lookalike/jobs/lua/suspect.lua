-- kept_ms, most, growth, names... -> how often the embedder has died of each now. Growth 0 only says that it may have.
local now, kept, most = now_ms(), tonumber(ARGV[1]), tonumber(ARGV[2])
local found, seen = 'lookalike:suspects', 'lookalike:suspects:seen'
local function forget(names)
  if #names == 0 then return end
  redis.call('HDEL', found, unpack(names))
  redis.call('ZREM', seen, unpack(names))
end
-- Few at a time: a script's stack is bounded, and what is left goes with the next.
forget(redis.call('ZRANGEBYSCORE', seen, '-inf', whole(now - kept), 'LIMIT', 0, 1000))
local deaths = {}
for at = 4, #ARGV do
  redis.call('ZADD', seen, whole(now), ARGV[at])
  deaths[#deaths + 1] = redis.call('HINCRBY', found, ARGV[at], ARGV[3])
end
local over = redis.call('ZCARD', seen) - most
if over > 0 then forget(redis.call('ZRANGE', seen, 0, math.min(over, 1000) - 1)) end
redis.call('PEXPIRE', found, kept)
redis.call('PEXPIRE', seen, kept)
return deaths
