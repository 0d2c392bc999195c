-- name, token -> 1 where the token held it
if redis.call('GET', 'lookalike:lock:' .. ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('DEL', 'lookalike:lock:' .. ARGV[1])
