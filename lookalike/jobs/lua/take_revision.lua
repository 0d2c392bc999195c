-- collection -> its next revision
return whole(next_of('lookalike:revision:' .. ARGV[1]))
