-- kept_ms, names... -> how often the embedder has died of each, -1 where nothing is held against it (any more)
local since = now_ms() - tonumber(ARGV[1])
local deaths = {}
local none = redis.call('EXISTS', 'lookalike:suspects') == 0
for at = 2, #ARGV do
  local seen = not none and redis.call('ZSCORE', 'lookalike:suspects:seen', ARGV[at])
  local fresh = seen and tonumber(seen) > since
  deaths[#deaths + 1] = fresh and tonumber(redis.call('HGET', 'lookalike:suspects', ARGV[at]) or '-1') or -1
end
return deaths
