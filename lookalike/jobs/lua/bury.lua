-- collection, revision, ids... -> nothing. Kept only where an unfinished older job could still write one of them.
local oldest = redis.call('ZRANGE', 'lookalike:active:' .. ARGV[1], 0, 0, 'WITHSCORES')
if not oldest[2] or tonumber(oldest[2]) >= tonumber(ARGV[2]) then return 0 end
for at = 3, #ARGV do redis.call('ZADD', 'lookalike:buried:' .. ARGV[1], 'GT', ARGV[2], ARGV[at]) end
return #ARGV - 2
